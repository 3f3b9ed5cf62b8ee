"""What identifies a value: in this process, in the next one, and in a file's name."""

import hashlib
import inspect
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vlmlens.errors import DataError


def trace(value: Any) -> str:
    """Text that only values share which would give the same result.

    ``repr`` will not do: it shortens tensors, and calls a function by its address, which is
    another one in every process. A function is known by its name and its source.

    Raises:
        DataError: a value that can be told from others by its address alone.
    """
    if isinstance(value, Tensor):
        flat = value.detach().cpu().reshape(-1).view(torch.uint8).numpy()
        return f"Tensor({value.dtype} {tuple(value.shape)} {_hash(flat.tobytes())})"
    if isinstance(value, np.ndarray):
        return f"array({value.dtype} {value.shape} {_hash(value.tobytes())})"
    if is_dataclass(value) and not isinstance(value, type):
        inside = ", ".join(f"{f.name}={trace(getattr(value, f.name))}" for f in fields(value))
        return f"{_name(type(value))}({inside})"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{trace(k)}: {trace(v)}' for k, v in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"({', '.join(map(trace, value))})"
    if isinstance(value, partial):
        return f"partial({trace((value.func, value.args, value.keywords))})"
    if isinstance(value, FunctionType):
        held = [cell.cell_contents for cell in value.__closure__ or ()]
        held = held if "<locals>" in value.__qualname__ else []
        return f"{_name(value)}{trace(held)} {_hash(_source(value).encode())}"
    text = repr(value)
    if " at 0x" in text:
        raise DataError(
            f"{text} is known by its address alone, so its results could not be found again; "
            "make it a frozen dataclass or a function, or run without a folder"
        )
    return text


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _source(function: FunctionType) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):  # typed into a bare interpreter
        return repr(function.__code__.co_code)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:24]
