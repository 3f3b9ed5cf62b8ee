"""Passes without weights, and what they cost: operations, and the most memory held at once.

On torch's meta device tensors have shapes and no numbers. Where a model asks what its inputs hold
(where the image's tokens are, how many patches a picture has) it would stop there. So what does not
depend on weights stays real, and is computed: token ids, positions, pixels, RoPE's angles.
"""

import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from vlmlens.annotations import checked

ATEN: Any = torch.ops.aten
INDEXED = (ATEN.index.Tensor, ATEN.index_put.default, ATEN.index_put_.default)
COPY = ATEN._to_copy.default
#: Every row by the matrix of its own expert: torch's own, and what transformers has without it.
GROUPED = ("aten::_grouped_mm", "transformers::grouped_mm_fallback")
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Counted:
    """What a call took.

    Attributes:
        operations: multiplications and additions in products of matrices, convolutions and
            attention, by part of the model; ``""`` is what belongs to no part.
        attention: those of them that are products of queries with keys, and of weights with
            values, by part. All pairs count, also those that a mask hides: kernels compute them.
        peak: the most bytes that it held at once, beyond what was there before.

    Examples:
        >>> from vlmlens.planning import Counted
        >>> Counted({"tower": 3, "": 1}, {}, 10).total
        4
    """

    operations: Mapping[str, int] = field(default_factory=dict)
    attention: Mapping[str, int] = field(default_factory=dict)
    peak: int = 0

    @property
    def total(self) -> int:
        """Operations of all parts."""
        return sum(self.operations.values())


class Scale(TorchDispatchMode):
    """What torch does meanwhile: real tensors stay real; with others it computes shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[str] = Counter()
        self.attention: Counter[str] = Counter()
        self.held: dict[int, int] = {}
        self.live = self.most = 0
        self.parts: list[str] = []

    def count(self, call: Callable[[], object]) -> Counted:
        """What a call takes; what it returns is held until it is counted."""
        self.operations.clear()
        self.attention.clear()
        self.parts.clear()
        before = self.most = self.live
        kept = call()
        found = Counted(dict(self.operations), dict(self.attention), self.most - before)
        del kept
        return found

    def add(self, number: int, attention: bool = False) -> None:
        """Operations of the part that runs now."""
        part = self.parts[-1] if self.parts else ""
        self.operations[part] += number
        if attention:
            self.attention[part] += number

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """One operation of torch's."""
        made = self._done(func, args, dict(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._hold(tensor)
        return made

    def _done(self, func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        place = kwargs.get("device")
        to_meta = place is not None and torch.device(place).type == "meta"
        if to_meta and not given:
            made = func(*args, **kwargs)
            return made if numeric(made.dtype) else func(*args, **kwargs | {"device": CPU})
        if func is COPY:
            kwargs.pop("device", None)  # real things stay real, and others have nothing to bring
        if not any(x.is_meta for x in given):
            return func(*args, **kwargs)
        if func.name() in GROUPED:
            return self._grouped(*args[:2])
        if func in INDEXED:
            args = (args[0], list(_places(args[1])), *args[2:])
        with _disable_current_modes():
            args, kwargs = tree_map(_shape_of, (args, kwargs))
            made = func(*args, **kwargs)
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.add(formula(*args, **kwargs, out_val=made))
        return made

    def _grouped(
        self, x: Float[Tensor, "row d_in"], weights: Float[Tensor, "expert d_in d_out"]
    ) -> Float[Tensor, "row d_out"]:
        """Torch's has no formula, and shapes for bfloat16 alone."""
        width = weights.shape[-1]
        self.add(2 * x.numel() * width)
        with _disable_current_modes():
            return torch.empty(len(x), width, dtype=x.dtype, device="meta")

    def _hold(self, tensor: Shaped[Tensor, "..."]) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.held:
            return
        self.held[key] = storage.nbytes()
        self.live += self.held[key]
        self.most = max(self.most, self.live)
        weakref.finalize(storage, self._free, key)

    def _free(self, key: int) -> None:
        self.live -= self.held.pop(key)


class Fused(TorchFunctionMode):
    """Attention as its kernels compute it: without a matrix of scores in memory."""

    def __init__(self, scale: Scale) -> None:
        super().__init__()
        self.scale = scale

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """One function of torch's."""
        kwargs = kwargs or {}
        if func is not torch.nn.functional.scaled_dot_product_attention:
            return func(*args, **kwargs)
        names = ("query", "key", "value")
        query, key, value = (*args[:3], *(kwargs[name] for name in names[len(args) :]))
        heads = query.shape[:-2]
        self.scale.add(
            sdpa_flop_count(query.shape, (*heads, *key.shape[-2:]), (*heads, *value.shape[-2:])),
            attention=True,
        )
        return query.new_empty((*query.shape[:-1], value.shape[-1]))


@checked
@contextmanager
def weighing(model: nn.Module, parts: Mapping[str, Sequence[nn.Module]]) -> Iterator[Scale]:
    """Let a model without weights run, and count what is run.

    Args:
        model: on the meta device, but for what it computes itself.
        parts: the modules of each part of which operations are counted apart; of modules within
            each other the inner one counts.

    Yields:
        A ``Scale``: ``count(call)`` is what a call takes.

    Examples:
        >>> from vlmlens.planning import weighing
        >>> layer = torch.nn.Linear(8, 4, bias=False, device="meta")
        >>> with weighing(layer, {"all": [layer]}) as scale:
        ...     counted = scale.count(lambda: layer(torch.ones(3, 8)))
        >>> counted.operations, counted.peak  # 2 x 3 x 8 x 4; two tables of float32
        ({'all': 192}, 144)
    """
    scale = Scale()
    for tensor in (*model.parameters(), *model.buffers()):
        scale.held[tensor.untyped_storage()._cdata] = 0  # there before; views of it take nothing
    handles = []
    for name, modules in parts.items():
        for module in modules:
            enter = module.register_forward_pre_hook(lambda *_, n=name: scale.parts.append(n))
            leave = module.register_forward_hook(lambda *_: scale.parts.pop() and None)
            handles += [enter, leave]
    try:
        with scale, Fused(scale):
            yield scale
    finally:
        for handle in handles:
            handle.remove()


def numeric(dtype: torch.dtype) -> bool:
    """Whether it is a kind of numbers that are not whole."""
    return dtype.is_floating_point or dtype.is_complex


def _shape_of(x: Any) -> Any:
    return x.to("meta") if isinstance(x, Tensor) and not x.is_meta else x


def _places(indices: Sequence[Any]) -> Iterator[Any]:
    """Truth values as the places where they hold: how many these are, shapes alone do not say."""
    for index in indices:
        if index is not None and index.dtype == torch.bool and not index.is_meta:
            yield from index.nonzero().unbind(1)
        else:
            yield index
