"""What a dictionary reads and writes: rows of channels, the heads of an activation side by side."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from vlmlens.checks import shown
from vlmlens.errors import InputError

#: The axes of heads that are read as one row, and what its axis is called.
HEADS = ("head", "d_head")
ROW = "d_heads"


def row_axes(axes: Sequence[str]) -> tuple[str, ...]:
    """An activation's axes, as a dictionary sees it."""
    return (*axes[:-2], ROW) if tuple(axes[-2:]) == HEADS else tuple(axes)


def as_rows(x: Shaped[Tensor, "..."], axes: Sequence[str]) -> Shaped[Tensor, "..."]:
    """An activation as rows: every head's channels, one head after another."""
    return x.flatten(-2) if tuple(axes[-2:]) == HEADS else x


def _by_heads(dictionary: Any) -> bool:
    """Whether it puts the last two axes into one itself, as SAELens's attention SAEs do."""
    return bool(getattr(dictionary, "hook_z_reshaping_mode", False))


def width_of(dictionary: Any) -> int | None:
    """How many numbers a dictionary says that it reads; None where it does not say."""
    for holder in (getattr(dictionary, "cfg", None), dictionary):
        if isinstance(size := getattr(holder, "d_in", None), int):
            return size
    shape = getattr(getattr(dictionary, "W_enc", None), "shape", ())
    return int(shape[0]) if len(shape) == 2 else None


def encoded(
    dictionary: Any, x: Float[Tensor, "... d_in"], point: str
) -> Float[Tensor, "... d_sae"]:
    """The features of activations, in the dictionary's own dtype.

    Raises:
        InputError: rows of another width, or something else than rows of features.
    """
    width = width_of(dictionary)
    if width is not None and width != x.shape[-1]:
        raise InputError(
            f"{shown(dictionary)} reads rows of {width} numbers, and {point} has rows of "
            f"{x.shape[-1]}: it was trained at another point, or on another model"
        )
    dtype = dtype_of(dictionary)
    try:
        rows = x if dtype is None else x.to(dtype)
        acts = dictionary.encode(rows[..., None, :] if _by_heads(dictionary) else rows)
    except RuntimeError as error:
        raise InputError(
            f"{shown(dictionary)} cannot encode {point}, rows of {x.shape[-1]} numbers in "
            f"{x.dtype} on {x.device}: {error}"
        ) from error
    if not isinstance(acts, Tensor) or acts.shape[:-1] != x.shape[:-1] or acts.is_sparse:
        raise InputError(
            f"{shown(dictionary)}.encode made {shown(acts)} of {point}, {tuple(x.shape)}: a dense "
            "tensor with one row of features for each row is wanted"
        )
    return acts


def decoded(
    dictionary: Any, acts: Float[Tensor, "... d_sae"], shape: Sequence[int], point: str
) -> Float[Tensor, "... d_out"]:
    """What features make.

    Raises:
        InputError: rows of another width than the activation's.
    """
    made = dictionary.decode(acts)
    if _by_heads(dictionary) and isinstance(made, Tensor) and made.ndim > 1:
        made = made.flatten(-2)
    if not isinstance(made, Tensor) or made.shape != torch.Size(shape):
        width = made.shape[-1] if isinstance(made, Tensor) and made.ndim else shown(made)
        raise InputError(
            f"{shown(dictionary)} writes rows of {width} numbers, and {point} has rows of "
            f"{shape[-1]}: a transcoder is spliced in where it writes, with reads= where it reads"
        )
    return made


def dtype_of(dictionary: Any) -> torch.dtype | None:
    """The dtype that a dictionary computes in; None where it has no weights to say."""
    if isinstance(dictionary, nn.Module):
        held = [*dictionary.parameters(), *dictionary.buffers()]
    else:
        held = [x for x in getattr(dictionary, "__dict__", {}).values() if isinstance(x, Tensor)]
    return next((x.dtype for x in held if x.is_floating_point()), None)
