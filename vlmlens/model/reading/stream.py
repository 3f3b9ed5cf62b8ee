"""A run's residual stream, block by block: what enters, what is added, what norms it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, Shaped
from torch import Tensor
from transformer_lens.utilities.slice import Slice

from vlmlens.cache import ActivationCache
from vlmlens.cache.cutting import cut
from vlmlens.checks import whole
from vlmlens.errors import InputError, UnsupportedModelError
from vlmlens.model.arithmetic.linear import matrix_of
from vlmlens.model.arithmetic.norm import Norm
from vlmlens.model.arithmetic.projections import by_head
from vlmlens.model.wiring.wired import Wired

#: Which positions or samples, as TransformerLens takes it: an index, ``(start, end)`` or a list of
#: indices. One index takes the axis away.
Which = int | tuple[int, ...] | list[int] | Shaped[Tensor, "..."] | Slice | None


@dataclass(frozen=True, eq=False)
class Stream:
    """What a run saved of the stream, and the modules that read and write it.

    Attributes:
        vlm: the model that ran.
        saved: what the run saved.
    """

    vlm: Wired
    saved: ActivationCache

    def refuse_unlike(self) -> None:
        """Raise where what the sublayers write is not what the stream gains.

        Raises:
            UnsupportedModelError: says why.
        """
        why = self.vlm.family.unlike.get("stream")
        if why is not None:
            raise UnsupportedModelError(
                f"{self.vlm.name}'s stream is no sum of parts: it {why}; accumulated_resid works"
            )

    def block(self, layer: int | None) -> int:
        """The number of a block; that of the end of the last for None and -1.

        Raises:
            InputError: no such block.
        """
        last = self.vlm.layers
        at = -1 if layer is None else whole(layer, "layer")
        if at == -1:
            return last
        if not 0 <= at <= last:
            raise InputError(f"no layer {at}: there are {last}, and {last} or -1 is their end")
        return at

    def entering(self, layer: int, mlp_input: bool) -> Float[Tensor, "batch pos d_model"]:
        """The stream (batch pos d_model) that enters a block, or its MLP; or that leaves the last.

        Raises:
            InputError: the MLP after the last block.
        """
        if layer == self.vlm.layers:
            if mlp_input:
                raise InputError("the last block has no MLP after its end: leave mlp_input out")
            return self.saved["resid_post", layer - 1]
        return self.saved["resid_mid" if mlp_input else "resid_pre", layer]

    def added(self, layer: int) -> dict[str, Float[Tensor, "batch pos d_model"]]:
        """What the model itself adds before a block; nothing, in nearly all."""
        before, after = self.saved["resid_post", layer - 1], self.saved["resid_pre", layer]
        return {} if torch.equal(before, after) else {f"{layer}_added": after - before}

    def head_results(
        self, layer: int, pos_slice: Which
    ) -> Float[Tensor, "batch *kept head d_model"]:
        """What every head of a block writes (batch pos head d_model), past a norm of it if any."""
        written, rest = self.raw_results(layer, pos_slice)
        projection = self._module_of(f"blocks.{layer}.attn.hook_result")
        after = self._module_of(f"blocks.{layer}.hook_attn_out")
        if after is not projection:  # a norm of what attention writes
            norm = Norm.of(after, rest)
            scale = norm.scale(written.sum(-2) + rest)
            written = norm.part(written, scale[..., None, :])
        one = sliced(self.saved["z", layer], pos_slice, dim=1).ndim == 3
        return written[:, 0] if one else written

    def raw_results(
        self, layer: int, pos_slice: Which
    ) -> tuple[Float[Tensor, "batch pos head d_model"], Float[Tensor, "..."]]:
        """What every head of a block writes, before any norm, and what is written anyway.

        Positions keep their axis, also where one alone is taken.
        """
        projection = self._module_of(f"blocks.{layer}.attn.hook_result")
        z = sliced(self.saved["z", layer], pos_slice, dim=1)
        flat = rearrange(z if z.ndim == 4 else z[:, None], "b p h d -> b p (h d)")
        with torch.no_grad():
            return by_head(projection, flat, z.shape[-2])

    def neurons(
        self, layer: int, neuron_slice: Which, pos_slice: Which
    ) -> tuple[Float[Tensor, "batch *kept neuron"], Float[Tensor, "neuron d_model"]]:
        """What every hidden unit of a block's MLP says, and the direction that it writes.

        Past a norm of what the MLP writes, if any, whose scale is in what units say.

        Raises:
            UnknownPointError: a block whose MLP shows no units, such as experts; says why.
        """
        out = self._module_of(f"blocks.{layer}.mlp.hook_post")
        matrix, bias = matrix_of(out)
        rows, said = matrix.T, sliced(self.saved["post", layer], pos_slice, dim=1)
        after = self._module_of(f"blocks.{layer}.hook_mlp_out")
        if out not in list(after.modules()):  # a norm of what the MLP writes
            norm = Norm.of(after, bias)
            scale = norm.scale(said.to(rows.dtype) @ rows + bias)
            rows, said = norm.part(rows, torch.ones_like(rows[:1, :1])), said / scale
        return sliced(said, neuron_slice, dim=-1), sliced(rows, neuron_slice, dim=0)

    def norm_at(self, layer: int, mlp_input: bool) -> Any:
        """The module that norms what enters a block, or its MLP; or what leaves the last.

        Raises:
            UnsupportedModelError: a block that has no such norm.
        """
        if layer == self.vlm.layers:
            return self.final_norm
        if mlp_input:
            if why := self.vlm.absent.get(f"blocks.{layer}.ln2.hook_scale"):
                raise UnsupportedModelError(
                    f"nothing norms what the MLP of {self.vlm.name}'s block {layer} reads: {why}"
                )
            return self._module_of(f"blocks.{layer}.hook_resid_mid")
        block = self._module_of(f"blocks.{layer}.hook_resid_pre")
        if not hasattr(block, "input_layernorm"):
            raise UnsupportedModelError(f"{type(block).__name__} has no input_layernorm")
        return block.input_layernorm

    @cached_property
    def final_norm(self) -> Any:
        """The norm before the unembedding."""
        return self.vlm.hf_model.get_submodule(self.vlm.family.final_norm)

    def _module_of(self, name: str) -> Any:
        self.vlm.matching(name)
        return self.vlm.hook_dict[name].module


def sliced(x: Shaped[Tensor, "..."], wanted: Which, dim: int) -> Shaped[Tensor, "..."]:
    """Some entries along one axis; see ``Which``."""
    return cut(x, wanted, dim, "slice")
