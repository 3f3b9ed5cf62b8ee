"""Attention that comes without labels: weights and tokens, from any library."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from vlmlens.errors import InputError

NOWHERE = ("image", "row", "column")


def labelled(pattern: Any, tokens: Sequence[str] | None) -> xr.Dataset:
    """Attention rows from a bare pattern, as an explorer takes them.

    Args:
        pattern: (head, query, key), (query, key) or (layer, head, query, key), or one of these a
            layer; an axis for a batch of one is left out. Arrays or tensors.
        tokens: a text for every key.

    Raises:
        InputError: no tokens, another number of them than keys, another shape, several samples.
    """
    weights = _stacked(pattern)
    queries, keys = weights.shape[-2:]
    if tokens is None:
        raise InputError(
            f"a bare pattern needs its tokens: explorer(pattern, tokens), {keys} texts"
        )
    if isinstance(tokens, str) or len(tokens) != keys:
        many = "one text" if isinstance(tokens, str) else f"{len(tokens)} tokens"
        raise InputError(f"{many} for a pattern of {keys} keys {weights.shape}: one for every key")
    if queries > keys:
        raise InputError(f"a pattern of {queries} queries and {keys} keys: queries are keys, too")
    places = np.arange(keys)
    nowhere = {name: ("key", np.full(keys, -1)) for name in NOWHERE}
    edges = {edge: ("key", np.full(keys, np.nan)) for edge in ("left", "top", "right", "bottom")}
    return xr.Dataset(
        {"attention": (("layer", "head", "query", "key"), weights)},
        coords={
            "layer": np.arange(len(weights)),
            "head": np.arange(weights.shape[1]),
            "query": places[keys - queries :],  # the last ones, where some are left out
            "key": places,
            "token": ("key", [str(token) for token in tokens]),
            "role": ("key", ["user"] * keys),
            **nowhere,
            **edges,
        },
    )


def _stacked(pattern: Any) -> Float[np.ndarray, "layer head query key"]:
    if isinstance(pattern, list | tuple):
        layers = [_array(one) for one in pattern]
        shapes = {one.shape for one in layers}
        if len(shapes) != 1:
            raise InputError(f"patterns of one shape are wanted, a layer each; there is: {shapes}")
        weights = np.stack([_of_one(one, 3) for one in layers])
    else:
        weights = _of_one(_array(pattern), 4)
    if weights.ndim == 3:
        weights = weights[None] if not isinstance(pattern, list | tuple) else weights[:, None]
    if weights.ndim == 2:
        weights = weights[None, None]
    if weights.ndim != 4:
        raise InputError(
            f"a pattern is (head, query, key) or (layer, head, query, key), not {weights.shape}"
        )
    return weights


def _of_one(weights: Float[np.ndarray, "..."], most: int) -> Float[np.ndarray, "..."]:
    """Without the axis of a batch, which has one sample or is refused."""
    if weights.ndim != most + 1:
        return weights
    at = most - 3  # layer batch head query key; batch head query key
    if weights.shape[at] != 1:
        raise InputError(f"an explorer shows one sample, not {weights.shape[at]}: {weights.shape}")
    return weights.squeeze(at)


def _array(weights: Any) -> Float[np.ndarray, "..."]:
    """Numbers of an array or a tensor, wherever it is and whether or not it has a gradient."""
    if hasattr(weights, "detach"):
        weights = weights.detach().cpu().float().numpy()
    try:
        return np.asarray(weights, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{type(weights).__name__} is no attention: an explorer takes what "
            "probes.attention_rows returns, a bare pattern and its tokens, or an open model"
        ) from error
