"""The attention function, with points along the way.

transformers finds an attention implementation by name. For every implementation that a model
may have been opened with (``sdpa``, ``eager``, ...) there is one of ours, ``vlmlens_sdpa`` and so
on, that calls it and nothing else while nobody watches. Watching computes scores and pattern
BESIDE the implementation's own output, so that looking never changes a result; only an edit of
scores or pattern makes our own mixture of the values the output.
"""

import sys
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import get_ident
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from vlmlens.errors import UnsupportedModelError
from vlmlens.model.arithmetic.attending import (
    joined_mask,
    mix,
    read_mask,
    row_index,
    scores,
    softmax,
    split_mask,
)

PREFIX = "vlmlens_"
#: Implementations that pass over a soft cap: transformers drops the option (and, in later versions,
#: refuses such models), so what is watched is the weights without it, which are the ones in use.
UNCAPPED = frozenset({"sdpa"})
#: What a thread has attention computed by for a while, whatever a model was opened with. By thread,
#: since a configuration is everybody's: another thread's pass may be half way through.
CHOSEN: dict[int, str] = {}
#: Steps that exist only where all of a pattern is computed.
WHOLE = ("mask", "scores", "pattern")


@runtime_checkable
class Carrier(Protocol):
    """What a catcher needs of a hook point."""

    @property
    def acts(self) -> bool:
        """Whether anybody watches it now and in this thread."""
        ...

    def carry(self, native: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        """Show a tensor to the point's hooks; returns it, or what they made of it."""
        ...


@dataclass(eq=False)  # the same rows may be asked for twice
class RowRequest:
    """Attention rows that somebody wants: their queries, where to put the weights, and who asks."""

    queries: Int[Tensor, "batch rows"]
    deliver: Callable[[Float[Tensor, "batch head rows key"]], None]
    thread: int = field(default_factory=get_ident)


#: Where an attention module keeps who watches it. On the module, since transformers calls our
#: function by name and hands it nothing else.
SLOT = "_vlmlens_catcher"


class Catcher:
    """Who watches one attention module: points by step, and requests for rows.

    Attributes:
        points: hook points by the step of attention that they watch.
        rows: the requests.
    """

    def __init__(self, module: nn.Module):
        self._module = weakref.ref(module)
        self.points: dict[str, Carrier] = {}
        self.rows: list[RowRequest] = []

    # A copy of a watched module is watched by nobody.

    def __deepcopy__(self, memo: dict) -> None:
        return None

    def __reduce__(self) -> tuple:
        return type(None), ()

    def of(self, module: nn.Module) -> bool:
        """Whether this is the module that is watched, and not a copy that shares its attributes."""
        return self._module() is module

    # Asked anew at every step: a hook at one of them may add another at the next.

    @property
    def whole(self) -> bool:
        """Whether anybody watches mask, scores or pattern, now and in this thread."""
        return any(self.points[step].acts for step in WHOLE if step in self.points)

    @property
    def wanted(self) -> list[RowRequest]:
        """The rows that this thread wants."""
        return [request for request in self.rows if request.thread == get_ident()]

    def catch(self, step: str, x: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
        """The tensor at one step, after whoever watches it."""
        return self.points[step].carry(x) if step in self.points else x

    def masked(
        self,
        query: Float[Tensor, "batch head query d_head"],
        key: Float[Tensor, "batch kv_head key d_head"],
        allowed: Bool[Tensor, "..."] | None,
        bias: Float[Tensor, "..."] | None,
    ) -> Float[Tensor, "batch 1 query key"] | None:
        """What hooks made of the mask; None where nobody edited it."""
        if "mask" not in self.points or not self.points["mask"].acts:
            return None
        shown = joined_mask(allowed, bias, query, key.shape[2])
        made = self.points["mask"].carry(shown)
        return None if made is shown else made


def catcher_of(module: nn.Module) -> Catcher | None:
    """Who watches an attention module; None where nobody does."""
    found = module.__dict__.get(SLOT)
    return found if found is not None and found.of(module) else None


def watch_steps(module: nn.Module, points: Mapping[str, Carrier]) -> None:
    """Have these points watch an attention module, by step, and no others."""
    catcher = catcher_of(module) or Catcher(module)
    catcher.points = dict(points)
    _keep(module, catcher)


def ask_rows(module: nn.Module, request: RowRequest) -> None:
    """Have rows of an attention module's pattern delivered, until ``withdraw``."""
    catcher = catcher_of(module) or Catcher(module)
    catcher.rows = [*catcher.rows, request]
    _keep(module, catcher)


def withdraw(module: nn.Module, request: RowRequest) -> None:
    """Ask for rows no more; nothing happens where they were not asked for."""
    if (catcher := catcher_of(module)) is not None:
        catcher.rows = [other for other in catcher.rows if other is not request]
        _keep(module, catcher)


def _keep(module: nn.Module, catcher: Catcher) -> None:
    if catcher.points or catcher.rows:
        module.__dict__[SLOT] = catcher
    else:
        module.__dict__.pop(SLOT, None)


def register(base: str) -> str:
    """Our name for an implementation; registers it, with its mask, when asked first."""
    name = PREFIX + base
    if name not in ALL_ATTENTION_FUNCTIONS.valid_keys():
        # Both, or transformers passes no mask at all and attention stops being causal.
        AttentionInterface.register(name, _watched(base))
        AttentionMaskInterface.register(name, _masked(base))
    return name


def _chosen(base: str) -> str:
    return CHOSEN.get(get_ident(), base) if CHOSEN else base


def in_use(config: Any) -> str:
    """What computes attention in this thread, by a configuration and what was chosen."""
    name = config._attn_implementation
    return _chosen(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else name


def _masked(base: str) -> Callable:
    def mask(*args: Any, **options: Any) -> Any:
        return ALL_MASK_ATTENTION_FUNCTIONS[_chosen(base)](*args, **options)

    return mask


def _watched(base: str) -> Callable:
    def attention(
        module: nn.Module,
        query: Float[Tensor, "batch head query d_head"],
        key: Float[Tensor, "batch kv_head key d_head"],
        value: Float[Tensor, "batch kv_head key d_value"],
        attention_mask: Any,
        **options,
    ) -> tuple[
        Float[Tensor, "batch query head d_value"], Float[Tensor, "batch head query key"] | None
    ]:
        now = _chosen(base)
        plain = _implementation(now, module)
        catcher = catcher_of(module)
        if catcher is None:
            return plain(module, query, key, value, attention_mask, **options)
        query = catcher.catch("query", query)
        key = catcher.catch("key", key)
        value = catcher.catch("value", value)
        whole, wanted = catcher.whole, catcher.wanted
        if not (whole or wanted):
            return plain(module, query, key, value, attention_mask, **options)
        _refuse_what_we_cannot_compute(module, options)
        used = {k: v for k, v in options.items() if k != "softcap" or now not in UNCAPPED}
        if whole:
            allowed, bias = read_mask(module, query, key, attention_mask, options)
            masked = catcher.masked(query, key, allowed, bias)
            if masked is not None:
                allowed, bias = split_mask(masked)
            before = scores(query, key, allowed, bias, used)
            edited = catcher.catch("scores", before)
            pattern = softmax(edited)
            weights = catcher.catch("pattern", pattern)
            for request in wanted:  # what the edits made of them
                request.deliver(weights.gather(2, row_index(request.queries, weights)))
            if masked is not None or edited is not before or weights is not pattern:
                return mix(weights, value), weights
        else:
            for request in wanted:
                rows = request.queries
                asked = query.gather(2, row_index(rows, query))
                seen, added = read_mask(module, query, key, attention_mask, options, rows)
                request.deliver(softmax(scores(asked, key, seen, added, used)))
        return plain(module, query, key, value, attention_mask, **options)

    return attention


def _implementation(base: str, module: nn.Module) -> Callable:
    if base == "eager":  # not registered: every modelling file has its own, Llama 4's has two
        home, name = sys.modules[type(module).__module__], "eager_attention_forward"
        own = f"vision_{name}" if "Vision" in type(module).__name__ else name
        return getattr(home, own, None) or getattr(home, name)
    return ALL_ATTENTION_FUNCTIONS[base]


def _refuse_what_we_cannot_compute(module: nn.Module, options: dict) -> None:
    for name in ("s_aux", "position_bias"):
        if options.get(name) is not None:
            raise UnsupportedModelError(
                f"{type(module).__name__} passes {name!r} to attention, which changes the pattern "
                "in a way vlmlens does not compute; its scores and patterns cannot be watched"
            )
