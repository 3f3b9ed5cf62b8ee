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

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from vlmlens.errors import UnsupportedModelError

PREFIX = "vlmlens_"
#: Implementations that pass over a soft cap: transformers drops the option (and, in later versions,
#: refuses such models), so what is watched is the weights without it, which are the ones in use.
UNCAPPED = frozenset({"sdpa"})
MASKED = torch.finfo(torch.float16).min  # an additive mask below this hides its key


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
        """Whether anybody watches scores or pattern, now and in this thread."""
        return any(self.points[step].acts for step in ("scores", "pattern") if step in self.points)

    @property
    def wanted(self) -> list[RowRequest]:
        """The rows that this thread wants."""
        return [request for request in self.rows if request.thread == get_ident()]

    def catch(self, step: str, x: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
        """The tensor at one step, after whoever watches it."""
        return self.points[step].carry(x) if step in self.points else x


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
        AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[base])
    return name


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
        plain = _implementation(base, module)
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
        used = {k: v for k, v in options.items() if k != "softcap" or base not in UNCAPPED}
        if whole:
            allowed, bias = _read_mask(module, query, key, attention_mask, options)
            before = scores(query, key, allowed, bias, used)
            edited = catcher.catch("scores", before)
            pattern = softmax(edited)
            weights = catcher.catch("pattern", pattern)
            for request in wanted:  # what the edits made of them
                request.deliver(weights.gather(2, _index(request, weights)))
            if edited is not before or weights is not pattern:
                return mix(weights, value), weights
        else:
            for request in wanted:
                asked = query.gather(2, _index(request, query))
                seen, added = _read_mask(module, query, key, attention_mask, options, request)
                request.deliver(softmax(scores(asked, key, seen, added, used)))
        return plain(module, query, key, value, attention_mask, **options)

    return attention


def scores(
    query: Float[Tensor, "batch head rows d_head"],
    key: Float[Tensor, "batch kv_head key d_head"],
    allowed: Bool[Tensor, "..."] | None,
    bias: Float[Tensor, "..."] | None,
    options: dict,
) -> Float[Tensor, "batch head rows key"]:
    """Scaled scores, minus infinity where a key is hidden.

    Minus infinity and not the lowest finite number: were all the keys that a query sees knocked
    out, the lowest number would send its weight to the future.
    """
    scaling = options.get("scaling")
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    grouped = rearrange(query * scaling, "b (kv g) q d -> b kv g q d", kv=key.shape[1])
    x = rearrange(grouped @ key[:, :, None].transpose(-1, -2), "b kv g q k -> b (kv g) q k")
    if (cap := options.get("softcap")) is not None:
        x = torch.tanh(x / cap) * cap
    if bias is not None:
        x = x + bias
    return x if allowed is None else x.masked_fill(~allowed, -torch.inf)


def softmax(x: Float[Tensor, "*lead key"]) -> Float[Tensor, "*lead key"]:
    """Attention weights in the scores' dtype; all zero where every key is hidden."""
    dead = (x == -torch.inf).all(-1, keepdim=True)
    # Filled before as well: softmax of nothing is NaN, and its gradient would be, for every key.
    weights = torch.softmax(x.masked_fill(dead, 0.0), dim=-1, dtype=torch.float32)
    return weights.masked_fill(dead, 0.0).to(x.dtype)


def mix(
    weights: Float[Tensor, "batch head query key"], value: Float[Tensor, "batch kv_head key d_head"]
) -> Float[Tensor, "batch query head d_head"]:
    """The values, mixed by the weights, as transformers lays them out."""
    grouped = rearrange(weights, "b (kv g) q k -> b kv g q k", kv=value.shape[1])
    return rearrange(grouped @ value[:, :, None], "b kv g q d -> b q (kv g) d")


def _implementation(base: str, module: nn.Module) -> Callable:
    if base == "eager":  # not registered: every modelling file has its own, Llama 4's has two
        home, name = sys.modules[type(module).__module__], "eager_attention_forward"
        own = f"vision_{name}" if "Vision" in type(module).__name__ else name
        return getattr(home, own, None) or getattr(home, name)
    return ALL_ATTENTION_FUNCTIONS[base]


def _read_mask(
    module: nn.Module,
    query: Float[Tensor, "batch head query d_head"],
    key: Float[Tensor, "batch kv_head key d_head"],
    mask: Any,
    options: dict,
    request: RowRequest | None = None,
) -> tuple[Bool[Tensor, "..."] | None, Float[Tensor, "..."] | None]:
    """Which keys each query may see, and what is added to their scores; of some rows alone."""
    queries, keys = query.shape[2], key.shape[2]
    if mask is not None and not isinstance(mask, Tensor):
        raise UnsupportedModelError(
            f"scores and patterns are computed from a mask of numbers, and not from a "
            f"{type(mask).__name__}, which flex attention takes: open the model with "
            "attn_implementation='sdpa' or 'eager', or pass attention='eager' to this call"
        )
    if mask is None:
        causal = options.get("is_causal")
        causal = getattr(module, "is_causal", True) if causal is None else causal
        if not causal or queries == 1:
            return None, None
        every = torch.arange(keys, device=query.device)
        at = every[None, :queries] if request is None else request.queries.to(query.device)
        return (every <= at[..., None])[:, None], None
    mask = mask[..., :keys]
    if request is not None:
        mask = _pick_rows(mask, request)
    if mask.dtype == torch.bool:
        return mask, None
    allowed = mask > MASKED
    return allowed, mask.masked_fill(~allowed, 0.0)


def _pick_rows(
    mask: Shaped[Tensor, "batch head query key"], request: RowRequest
) -> Shaped[Tensor, "_batch head rows key"]:
    if mask.shape[2] == 1:
        return mask
    whole = mask.expand(request.queries.shape[0], -1, -1, -1)
    return whole.gather(2, _index(request, whole))


def _index(
    request: RowRequest, x: Shaped[Tensor, "batch head query last"]
) -> Int[Tensor, "batch head rows last"]:
    """The wanted rows, as ``gather`` takes them along the third axis of x."""
    rows = request.queries.to(x.device)
    return repeat(rows, "b r -> b h r d", h=x.shape[1], d=x.shape[3])


def _refuse_what_we_cannot_compute(module: nn.Module, options: dict) -> None:
    for name in ("s_aux", "position_bias"):
        if options.get(name) is not None:
            raise UnsupportedModelError(
                f"{type(module).__name__} passes {name!r} to attention, which changes the pattern "
                "in a way vlmlens does not compute; its scores and patterns cannot be watched"
            )
