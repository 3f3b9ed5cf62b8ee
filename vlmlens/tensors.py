"""What a tensor has to be before anything is computed with it, and whether it had room."""

from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from vlmlens.checks import shown
from vlmlens.errors import InputError


def dense(given: Any, what: str) -> Shaped[Tensor, "..."]:
    """A tensor that holds a value at every index.

    Raises:
        InputError: no tensor, a sparse one, or one on ``meta``, which holds no values.
    """
    if not isinstance(given, Tensor):
        raise InputError(f"{what}={shown(given)}: a torch tensor is wanted")
    if given.is_meta or given.layout != torch.strided:
        how = "on meta, without values" if given.is_meta else f"{given.layout}"
        raise InputError(f"{what}={shown(given)} is {how}: a dense tensor with values is wanted")
    return given


def onto(x: Shaped[Tensor, "*axes"], device: torch.device | str) -> Shaped[Tensor, "*axes"]:
    """A tensor on a device, without waiting for what the device has still to do.

    Masks and indices are made where Python is. What comes from a CPU's memory is read before this
    returns, so that nothing has to wait; what goes there has to be waited for, as usual.

    Args:
        x: any tensor.
        device: where it is wanted.

    Examples:
        >>> from vlmlens.tensors import onto
        >>> onto(torch.ones(2), "meta").device.type
        'meta'
    """
    return x.to(device, non_blocking=x.device.type == "cpu")


def suited(x: Shaped[Tensor, "*axes"], like: Shaped[Tensor, "*other"]) -> Shaped[Tensor, "*axes"]:
    """A tensor with the device and the dtype of another, which is not waited for; see ``onto``.

    Examples:
        >>> from vlmlens.tensors import suited
        >>> suited(torch.ones(2), torch.ones(3, dtype=torch.float64)).dtype
        torch.float64
    """
    return onto(x, like.device).to(like.dtype)


def pieces(
    x: Shaped[Tensor, "*axes"], shares: tuple[int, ...], dim: int = -1
) -> list[Shaped[Tensor, "*piece"]]:
    """An axis in pieces, whose lengths are to each other as ``shares`` are.

    Examples:
        >>> from vlmlens.tensors import pieces
        >>> [piece.tolist() for piece in pieces(torch.arange(8), (2, 1, 1))]
        [[0, 1, 2, 3], [4, 5], [6, 7]]
    """
    unit = x.shape[dim] // sum(shares)
    return list(x.split([share * unit for share in shares], dim))


def as_device(given: Any) -> torch.device:
    """A device that holds values.

    Raises:
        InputError: no device, or ``"meta"``, which holds none.
    """
    try:
        device = torch.device(given)
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"device={shown(given)}: cpu, cuda, cuda:1, ... ({error})") from error
    if device.type == "meta":
        raise InputError("device='meta' holds no values, so nothing can run: name another")
    return device


def out_of_memory(error: BaseException) -> bool:
    """Whether this says that memory ran out, on a GPU or on the host."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "not enough memory" in str(error)
