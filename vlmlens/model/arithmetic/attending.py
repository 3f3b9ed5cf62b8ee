"""Attention by its steps: which keys are seen, scores, softmax, and the mixture of the values."""

from typing import Any

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from vlmlens.errors import UnsupportedModelError
from vlmlens.tensors import onto

MASKED = torch.finfo(torch.float16).min  # an additive mask below this hides its key


def read_mask(
    module: nn.Module,
    query: Float[Tensor, "batch head query d_head"],
    key: Float[Tensor, "batch kv_head key d_head"],
    mask: Any,
    options: dict,
    rows: Int[Tensor, "batch rows"] | None = None,
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
        at = every[None, :queries] if rows is None else onto(rows, query.device)
        return (every <= at[..., None])[:, None], None
    mask = mask[..., :keys]
    if rows is not None and mask.shape[2] > 1:
        whole = mask.expand(rows.shape[0], -1, -1, -1)
        mask = whole.gather(2, row_index(rows, whole))
    return split_mask(mask)


def split_mask(
    mask: Shaped[Tensor, "*lead key"],
) -> tuple[Bool[Tensor, "*lead key"], Float[Tensor, "*lead key"] | None]:
    """Which keys a mask leaves to be seen, and what it adds to their scores."""
    if mask.dtype == torch.bool:
        return mask, None
    allowed = ~(mask <= MASKED)  # NaN hides nothing: it goes on, to be seen
    return allowed, mask.masked_fill(~allowed, 0.0)


def joined_mask(
    allowed: Bool[Tensor, "..."] | None,
    bias: Float[Tensor, "..."] | None,
    query: Float[Tensor, "batch head query d_head"],
    keys: int,
) -> Float[Tensor, "batch 1 query key"]:
    """What is added to the scores of every head: 0, a bias, or minus infinity for a hidden key."""
    added = query.new_zeros(query.shape[0], 1, query.shape[2], keys)
    for part in (allowed, bias):
        if part is not None and part.ndim == 4 and part.shape[1] != 1:
            raise UnsupportedModelError(
                "this model masks every head in another way, and hook_mask has one mask for all"
            )
    if bias is not None:
        added = added + bias
    return added if allowed is None else added.masked_fill(~allowed, -torch.inf)


def row_index(
    rows: Int[Tensor, "batch rows"], x: Shaped[Tensor, "batch head query last"]
) -> Int[Tensor, "batch head rows last"]:
    """The wanted rows, as ``gather`` takes them along the third axis of x."""
    return repeat(onto(rows, x.device), "b r -> b h r d", h=x.shape[1], d=x.shape[3])


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
