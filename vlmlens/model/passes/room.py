"""Whether what is to be kept has room: patterns grow with the square of the prompt."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from vlmlens.errors import InputError
from vlmlens.model.wiring.wired import Wired

#: Where Linux says how much memory can be had without swapping.
MEMORY = Path("/proc/meminfo")
GIB = 2**30


def refuse_too_large(vlm: Wired, names: Sequence[str], batch: int, length: int) -> None:
    """Refuse whole patterns, scores or masks that memory has no room for, before any is made.

    Args:
        vlm: an open model.
        names: points that are to be kept whole.
        batch: samples.
        length: positions of each.

    Raises:
        InputError: they take more than is free on the device (of a GPU, its own memory).
    """
    square = [
        name
        for name in names
        if not name.startswith("vision.") and "query" in vlm.hook_dict[name].axes
    ]
    free = free_memory(vlm.device) if square else None
    if free is None:
        return
    item = vlm.hf_model.dtype.itemsize
    points = [vlm.hook_dict[name] for name in square]
    heads = sum(point.size("head") if "head" in point.axes else 1 for point in points)
    size = batch * heads * length**2 * item
    if size > free:
        raise InputError(
            f"{len(square)} points such as {square[0]} of {batch} sample(s) of {length} positions "
            f"take {size / GIB:.1f} GiB, and {free / GIB:.1f} GiB are free on {vlm.device}: keep "
            "rows, Save(..., rows='last'), or fewer layers or samples at once"
        )


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be had; None where nothing says, or where nothing is kept (meta)."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu":
        return None
    if MEMORY.is_file():
        told = dict(line.split(":", 1) for line in MEMORY.read_text().splitlines() if ":" in line)
        if "MemAvailable" in told:
            return int(told["MemAvailable"].split()[0]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
