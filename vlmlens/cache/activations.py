"""ActivationCache: what a run saved."""

import hashlib
import re
import weakref
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from vlmlens.cache.as_transformer_lens import AsTransformerLens
from vlmlens.cache.saving import Save
from vlmlens.checks import shown, whole, word
from vlmlens.errors import InputError, UnknownPointError
from vlmlens.identity.tensors import as_bytes
from vlmlens.layout import TokenLayout
from vlmlens.points import spelled


class ActivationCache(AsTransformerLens, Mapping[str, Tensor]):
    """Saved activations by the name of their point, in the order of the pass.

    Tensors may share memory with the pass that made them; nothing in vlmlens writes into them.

    Attributes:
        axes: the names of each tensor's dimensions.
        layouts: what every position of the run was, sample by sample; empty where nobody said.
        model: which model in memory was run, as ``HookedVLM.instance``; empty where nobody said.
        ways: which rows of each point were kept, and what they were reduced by.
        cache_dict: the tensors.
        dictionaries: whose features they are, by point, where a dictionary was spliced in.
        has_batch_dim: whether the tensors have their batch axis; see ``remove_batch_dim``.

    Examples:
        >>> saved = model.run(model.inputs(sample), save="blocks.*.hook_resid_post").saved
        >>> saved["blocks.3.hook_resid_post"].shape, saved.axes["blocks.3.hook_resid_post"]
        (torch.Size([1, 78, 128]), ('batch', 'pos', 'd_model'))
        >>> saved["resid_post", -1] is saved["blocks.3.hook_resid_post"]  # as in TransformerLens
        True
    """

    # Equal to itself alone: a Mapping would compare its tensors, and could not be hashed.
    __eq__ = object.__eq__
    __hash__ = object.__hash__  # pyright: ignore[reportAssignmentType]

    def __init__(
        self,
        tensors: dict[str, Shaped[Tensor, "..."]],
        axes: dict[str, tuple[str, ...]],
        layouts: Sequence[TokenLayout] = (),
        model: str = "",
        ways: Mapping[str, tuple[Any, Any]] | None = None,
        ran: Any = None,
    ):
        self.cache_dict = tensors
        self.axes = axes
        self.layouts = tuple(layouts)
        self.model = model
        self.ways = dict(ways or {})
        self.has_batch_dim = True
        self._ran = None if ran is None else weakref.ref(ran)
        self.dictionaries: dict[str, Any] = {}
        self._digest = ""

    def __getstate__(self) -> dict[str, Any]:
        # The model stays where it is: elsewhere, what was saved is tensors.
        return vars(self) | {"_ran": None, "dictionaries": {}}

    def like(
        self, tensors: dict[str, Shaped[Tensor, "..."]], axes: Mapping[str, tuple[str, ...]]
    ) -> "ActivationCache":
        """Other tensors of the same run.

        Examples:
            >>> saved = model.run(model.inputs(sample), save="hook_embed").saved
            >>> saved.like({}, {}).model == saved.model
            True
        """
        ran = None if self._ran is None else self._ran()
        made = ActivationCache(tensors, dict(axes), self.layouts, self.model, ran=ran)
        made.has_batch_dim, made.dictionaries = self.has_batch_dim, self.dictionaries
        return made

    @property
    def digest(self) -> str:
        """Eight characters that change with anything that was saved: the cache's name."""
        if not self._digest:
            whole = hashlib.sha256()
            for name, tensor in self.cache_dict.items():
                whole.update(f"{name} {contents(tensor)}".encode())
            self._digest = whole.hexdigest()[:8]
        return self._digest

    def __getitem__(self, name: str | tuple[str | int, ...] | Save) -> Shaped[Tensor, "..."]:
        """An activation by its point's name, or as TransformerLens has it, ``"pattern", 3``.

        By the ``Save`` that asked for it, it is sure to be that: those rows, reduced so.

        Raises:
            UnknownPointError: it was not saved.
            InputError: what is no name; or a ``Save`` of other rows, or of another reduction, than
                what was kept.
        """
        if isinstance(name, Save):
            tensor = self[name.points]
            self._refuse_other([name.points], name)
            return tensor
        found = name if isinstance(name, str) else self._long_name(name)
        found = found if found in self.cache_dict else spelled(found)
        if found not in self.cache_dict:
            raise UnknownPointError(found, self.cache_dict, "in what this run saved")
        return self.cache_dict[found]

    def _long_name(self, given: Any) -> str:
        """The name of a block's point from its last word, the layer and, if need be, its part.

        Negative layers count from the last of the language model's that was saved.
        """
        if not isinstance(given, tuple) or not 1 <= len(given) <= 3:
            advice = "a point's name is wanted, or its last word and a layer: cache['pattern', 3]"
            raise InputError(f"cache[{shown(given)}]: {advice}")
        filled = (*given, *(0, "")[len(given) - 1 :])
        short, part = word(filled[0], "name"), word(filled[2], "part")
        layer = whole(filled[1], "layer")
        if layer < 0:
            saved = [re.match(r"blocks\.(\d+)\.", name) for name in self.cache_dict]
            layer += 1 + max((int(match[1]) for match in saved if match), default=-1)
        last = short if short.startswith("hook_") else f"hook_{short}"
        places = [f"{part}."] if part else ["", "attn.", "mlp."]
        names = [f"blocks.{layer}.{place}{last}" for place in places]
        return next((name for name in names if name in self.cache_dict), names[0])

    def __contains__(self, name: object) -> bool:
        found = self._long_name(name) if isinstance(name, tuple) else name
        return found in self.cache_dict or (
            isinstance(found, str) and spelled(found) in self.cache_dict
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self.cache_dict)

    def __len__(self) -> int:
        return len(self.cache_dict)

    def stack(self, points: str | Save) -> Shaped[Tensor, "layer ..."]:
        """Every layer's activation of one kind, stacked in a new first dimension.

        Args:
            points: a pattern with one ``*`` for the layer, or the ``Save`` that asked for it.

        Raises:
            UnknownPointError: nothing that matches was saved.
            InputError: layers differ in shape, as heads of two widths do; or a ``Save`` of other
                rows, or of another reduction, than what was kept.

        Examples:
            >>> saved = model.run(model.inputs(sample), save="blocks.*.hook_resid_post").saved
            >>> saved.stack("blocks.*.hook_resid_post").shape  # layer batch pos d_model
            torch.Size([4, 1, 78, 128])
        """
        pattern = points.points if isinstance(points, Save) else word(points, "points")
        names = [name for name in self if fnmatchcase(name, pattern)]
        if not names:
            raise UnknownPointError(pattern, self, "in what this run saved")
        if isinstance(points, Save):
            self._refuse_other(names, points)
        first = self[names[0]].device
        if len(shapes := {tuple(self[name].shape) for name in names}) > 1:
            raise InputError(
                f"{pattern} differs in shape from layer to layer, {shapes}: take one by one"
            )
        return torch.stack([self[name].to(first) for name in names])

    def _refuse_other(self, names: Sequence[str], asked: Save) -> None:
        """Refuse to hand out what one probe asked for to another that asked for something else."""
        for name in names:
            kept = self.ways.get(name, (asked.rows, asked.reduce))
            if kept != (asked.rows, asked.reduce):
                raise InputError(
                    f"{name} was saved with rows={kept[0]!r}, reduce={shown(kept[1])}, and is read "
                    f"with rows={asked.rows!r}, reduce={shown(asked.reduce)}: run again with the "
                    "NEEDS of the probe that reads it"
                )

    def stack_activation(
        self, activation_name: str, layer: int | None = -1, sublayer_type: str | None = None
    ) -> Shaped[Tensor, "layer ..."]:
        """The same activation of the language model's first blocks, as TransformerLens stacks it.

        Args:
            activation_name: the last word of the point's name, such as ``"pattern"``.
            layer: blocks before this one; -1 or None for all that were saved.
            sublayer_type: ``"attn"`` or ``"mlp"``, where both have such a point.

        Raises:
            UnknownPointError: a block of which it was not saved.
            InputError: what is no layer, or the first, before which there is none.

        Examples:
            >>> saved = model.run(model.inputs(sample), save="blocks.*.attn.hook_z").saved
            >>> saved.stack_activation("z", layer=2).shape  # layer batch pos head d_head
            torch.Size([2, 1, 78, 4, 32])
        """
        part = "" if sublayer_type is None else word(sublayer_type, "sublayer_type")
        layer = -1 if layer is None else whole(layer, "layer")
        if layer == -1:
            last = self._long_name((activation_name, -1, part))
            layer = int(last.split(".")[1]) + 1
        if layer < 1:
            raise InputError(f"layer={layer}: there is no block before it; -1 means all")
        return torch.stack([self[activation_name, at, part] for at in range(layer)])

    def __repr__(self) -> str:
        size = sum(t.numel() * t.element_size() for t in self.cache_dict.values())
        return f"ActivationCache({len(self)} points, {size / 2**20:.1f} MiB)"


def two_models(one: str, other: str) -> bool:
    """Whether two names of models in memory are of different ones.

    Names of two processes cannot be compared: the same model may be open in both.
    """
    return one != other and one.partition(" ")[0] == other.partition(" ")[0] != ""


def refuse_read_by_another(cache: "ActivationCache", model: Any, what: str) -> None:
    """Refuse to read with one model's weights what another one's run saved.

    Args:
        cache: what a run saved.
        model: the model whose weights it would be read with.
        what: what reads it.

    Raises:
        InputError: says how to have it all the same.
    """
    if two_models(cache.model, model.instance):
        raise InputError(
            f"{what} reads with the weights of {model.name} what another model's run saved: read "
            "it with the model that ran, or, to go from model to model on purpose, pass "
            "ActivationCache(dict(saved), saved.axes, saved.layouts)"
        )


def contents(x: Shaped[Tensor, "..."]) -> str:
    """A hash of a tensor's dtype, shape and every bit of it, wherever it lies."""
    flat = as_bytes(x.detach().cpu()).numpy()
    return hashlib.sha256(f"{x.dtype} {tuple(x.shape)}".encode() + flat.tobytes()).hexdigest()
