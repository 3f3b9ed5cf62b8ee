"""The finest parts of the residual stream: every hidden unit of every MLP, beside the heads."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from vlmlens.cache import ActivationCache
from vlmlens.cache.activations import refuse_read_by_another
from vlmlens.checks import whole
from vlmlens.errors import InputError
from vlmlens.model.arithmetic.norm import Norm
from vlmlens.model.reading.stream import Stream, Which, sliced
from vlmlens.model.wiring.wired import Wired

Stack = Float[Tensor, "component *lead d_model"]
Kept = Float[Tensor, "batch *kept"]
#: Directions that what is written is projected onto; one of them, or several side by side.
Onto = Float[Tensor, "d_model *outputs"]


class Finer(ABC):
    """What ``ResidualStream`` knows of single units; see there."""

    def __init__(self, vlm: Wired, saved: ActivationCache):
        refuse_read_by_another(saved, vlm, "this stream")
        self.saved = saved
        self._vlm, self._stream = vlm, Stream(vlm, saved)

    @abstractmethod
    def decompose_resid(self, *args: Any, **options: Any) -> Any:
        """The parts that attention and MLPs wrote."""

    @abstractmethod
    def stack_head_results(self, *args: Any, **options: Any) -> Any:
        """What every head wrote."""

    @abstractmethod
    def apply_ln_to_stack(self, *args: Any, **options: Any) -> Any:
        """Parts of the stream as a norm lets them pass."""

    def results(self) -> dict[str, Float[Tensor, "batch *lead head d_model"]]:
        """Every head's write before any norm, as ``attn.hook_result``, where ``z`` was saved."""
        found = {}
        for at in range(self._vlm.layers):
            if f"blocks.{at}.attn.hook_z" in self.saved:
                written, _ = self._stream.raw_results(at, None)
                one = self.saved["z", at].ndim == 3
                found[f"blocks.{at}.attn.hook_result"] = written[:, 0] if one else written
        if not found:
            self.saved["z", 0]  # says what is not there
        return found

    def get_neuron_results(
        self,
        layer: int,
        neuron_slice: Which = None,
        pos_slice: Which = None,
        project_output_onto: Onto | None = None,
    ) -> Kept:
        """What hidden units of one block's MLP write (batch pos neuron d_model).

        Computed from ``mlp.hook_post``. Where a model norms what MLPs write (Gemma), a unit's share
        is what passes that norm, its scale held fixed.

        Args:
            layer: the block.
            neuron_slice: units to keep; one takes the axis away.
            pos_slice: positions to keep.
            project_output_onto: directions to project what is written onto, before anything of
                the size of all of it is made.

        Returns:
            (batch pos neuron d_model); with one direction without the last axis, with several
            one entry each.
        """
        at = whole(layer, "layer", 0, self._vlm.layers - 1)
        said, rows = self._stream.neurons(at, _listed(neuron_slice), pos_slice)
        onto = None if project_output_onto is None else project_output_onto.to(rows)
        worth = rows if onto is None else rows @ (onto if onto.ndim == 2 else onto[:, None])
        made = said[..., None] * worth
        made = made[..., 0, :] if isinstance(neuron_slice, int) else made
        return made[..., 0] if onto is not None and onto.ndim == 1 else made

    def stack_neuron_results(
        self,
        layer: int | None,
        pos_slice: Which = None,
        neuron_slice: Which = None,
        return_labels: bool = False,
        incl_remainder: bool = False,
        apply_ln: bool = False,
        project_output_onto: Onto | None = None,
        mlp_input: bool = False,
    ) -> Any:
        """What every hidden unit wrote into the stream, in the blocks before one.

        Args:
            layer: blocks before this one; None or -1 for all.
            pos_slice: positions to keep.
            neuron_slice: units of every block to keep.
            return_labels: whether to return names (``"L0N17"``) as well.
            incl_remainder: a last part, all else that the stream holds there.
            apply_ln: pass the parts through the norm that reads the stream there.
            project_output_onto: as in ``get_neuron_results``, after the norm.
            mlp_input: whether ``there`` is what enters the block's MLP.

        Returns:
            (component batch pos d_model); with ``return_labels``, that and a list of names.
        """
        self._stream.refuse_unlike()
        end = self._stream.block(layer)
        if end == 0:
            raise InputError("no block comes before block 0: layer is at least 1")
        onto = project_output_onto
        parts, labels = [], []
        for at in range(end):
            said, rows = self._stream.neurons(at, _listed(neuron_slice), pos_slice)
            numbers = sliced(torch.arange(self._width(at)), _listed(neuron_slice), dim=0)
            labels += [f"L{at}N{number}" for number in numbers.tolist()]
            if apply_ln:
                said, rows = self._normed(said, rows, end, mlp_input, pos_slice)
            worth = rows if onto is None else rows @ (onto if onto.ndim == 2 else onto[:, None])
            parts.append(rearrange(said[..., None] * worth, "... n d -> n ... d"))
        kept = torch.cat(parts)
        if incl_remainder:
            whole_stream = sliced(self._stream.entering(end, mlp_input), pos_slice, dim=-2)[None]
            if apply_ln:
                whole_stream = self.apply_ln_to_stack(whole_stream, end, mlp_input, pos_slice)
            if onto is not None:
                whole_stream = whole_stream @ (onto if onto.ndim == 2 else onto[:, None])
            kept = torch.cat([kept, whole_stream - kept.sum(0)])
            labels.append("remainder")
        kept = kept[..., 0] if onto is not None and onto.ndim == 1 else kept
        return (kept, labels) if return_labels else kept

    def get_full_resid_decomposition(
        self,
        layer: int | None = None,
        mlp_input: bool = False,
        expand_neurons: bool = True,
        apply_ln: bool = False,
        pos_slice: Which = None,
        return_labels: bool = False,
        project_output_onto: Onto | None = None,
    ) -> Any:
        """The stream as the sum of its heads, its hidden units, the embedding and the biases.

        Args:
            layer: the block that is entered; None or -1 for the end of the last.
            mlp_input: what enters the block's MLP in place of its attention.
            expand_neurons: False for MLPs as one part each.
            apply_ln: pass the parts through the norm that reads the stream there.
            pos_slice: positions to keep.
            return_labels: whether to return the parts' names as well.
            project_output_onto: directions to project the parts onto.

        Returns:
            (component batch pos d_model); with ``return_labels``, that and a list of names. The
            last, ``bias``, is what attention and MLPs write beside their heads and units.
        """
        end = self._stream.block(layer)
        how = {"pos_slice": pos_slice, "return_labels": True}
        parts, names = self.decompose_resid(end, mlp_input, **how)
        wrote = {n: part for n, part in zip(names, parts, strict=True) if n.endswith("_out")}
        mlps = {name: part for name, part in wrote.items() if name.endswith("mlp_out")}
        heads, labels, units, more = parts[:0], [], parts[:0], list(mlps)
        if end + mlp_input:
            heads, labels = self.stack_head_results(end + mlp_input, **how)
        if mlps and expand_neurons:
            units, more = self.stack_neuron_results(end, **how)
        elif mlps:
            units = torch.stack(list(mlps.values()))
        rest = [at for at, name in enumerate(names) if name not in wrote]
        written = sum(wrote.values(), torch.zeros_like(parts[0]))
        bias = written - heads.sum(0) - units.sum(0)
        kept = torch.cat([heads, units, parts[rest], bias[None]])
        left = [names[at] for at in rest]
        if apply_ln:
            kept = self.apply_ln_to_stack(kept, end, mlp_input, pos_slice)
        if project_output_onto is not None:
            kept = kept @ project_output_onto.to(kept)
        return (kept, [*labels, *more, *left, "bias"]) if return_labels else kept

    def _normed(
        self,
        said: Float[Tensor, "batch *kept neuron"],
        rows: Float[Tensor, "neuron d_model"],
        end: int,
        mlp_input: bool,
        pos_slice: Which,
    ) -> tuple[Float[Tensor, "batch *kept neuron"], Float[Tensor, "neuron d_model"]]:
        """Units and their directions after the norm that reads the stream at a place."""
        stream = self._stream.entering(end, mlp_input)
        norm = Norm.of(self._stream.norm_at(end, mlp_input), stream)
        scale = norm.scale(sliced(stream, pos_slice, dim=-2))
        return said / scale, norm.part(rows, torch.ones_like(rows[:1, :1]))

    def _width(self, layer: int) -> int:
        return self.saved["post", layer].shape[-1]

    def _stacked(self, parts: Iterable[Float[Tensor, "..."]], pos_slice: Which) -> Stack:
        kept = [sliced(part, pos_slice, dim=-2) for part in parts]
        return torch.stack([part.to(kept[0].device) for part in kept])


def _listed(which: Which) -> Which:
    """Units, of which one keeps its axis."""
    return [which] if isinstance(which, int) else which
