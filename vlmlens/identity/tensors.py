"""What identifies a tensor: its dtype, its shape and every bit of it."""

from typing import Any

import torch
from jaxtyping import Shaped, UInt8
from torch import Tensor

from vlmlens.errors import DataError, InputError
from vlmlens.identity.digests import digest
from vlmlens.identity.hasher import Hasher
from vlmlens.identity.libraries import NOTES

#: Bytes that are brought from a device at once.
PIECE = 2**26
PLAIN = (Tensor, torch.nn.Parameter, torch.nn.Buffer)


def tensor(x: Shaped[Tensor, "..."], content: Hasher) -> str:
    """A hash of a tensor, wherever it lies, however it is quantised.

    All of it is read every time: writing through ``.data`` or through numpy leaves a tensor's
    version as it was.

    Raises:
        InputError: weights that are offloaded (``meta``), and nobody said which they are.
        DataError: a kind of tensor that does not show its values.
    """
    content.by_row |= x.ndim > 1
    kind, notes = type(x), {k: v for k, v in vars(x).items() if k not in NOTES}
    x = x.detach()
    if x.is_meta:
        if not content.revision:
            raise InputError(
                "this model's weights are offloaded, so they have no hash: wrap the "
                "model with HookedVLM(..., revision='a name for this version of it')"
            )
        return content.joined("offloaded", str(x.dtype), str(tuple(x.shape)), content.revision)
    if hasattr(x, "__tensor_flatten__"):  # a subclass around others, as torchao's are
        names, rest = x.__tensor_flatten__()  # pyright: ignore[reportAttributeAccessIssue]
        inside = [content.of(getattr(x, name)) for name in names]
        return content.joined("tensors", type(x).__name__, *names, *inside, content.of(rest))
    try:
        inside = _bits(x, content)
    except (RuntimeError, NotImplementedError) as error:
        raise DataError(
            f"the values of a tensor {tuple(x.shape)} on {x.device} cannot be read ({error}), so "
            "results could not be found again; run without a folder"
        ) from error
    state = [content.of(notes)] if kind not in PLAIN and notes else []
    return content.joined("tensor", str(x.dtype), str(tuple(x.shape)), *inside, *state)


def _bits(x: Shaped[Tensor, "..."], content: Hasher) -> list[str]:
    if x.is_quantized:
        scheme = str(x.qscheme())
        if "channel" in scheme:
            scale = [x.q_per_channel_scales(), x.q_per_channel_zero_points()]
            axis = str(x.q_per_channel_axis())
        else:
            scale, axis = [], f"{x.q_scale()} {x.q_zero_point()}"
        return [scheme, axis, *(part for t in [x.int_repr(), *scale] for part in _bits(t, content))]
    if x.layout is not torch.strided:
        whole = x.to_sparse_coo().coalesce()
        return [part for t in (whole.indices(), whole.values()) for part in _bits(t, content)]
    flat = as_bytes(x.resolve_conj().resolve_neg())
    pieces: list[Any] = [
        flat[start : start + PIECE].cpu().numpy().data for start in range(0, len(flat), PIECE)
    ]
    return [digest(*pieces)]


def as_bytes(x: Shaped[Tensor, "..."]) -> UInt8[Tensor, " byte"]:
    """Every byte of a dense tensor, one after the other, on its device.

    One number may have any stride and be contiguous all the same, which ``view`` does not accept.
    """
    return x.contiguous().as_strided((x.numel(),), (1,)).view(torch.uint8)
