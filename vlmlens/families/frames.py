"""A video's frames, each of them a grid of its own."""

import math
from collections.abc import Sequence
from dataclasses import replace

from vlmlens.families.family import Pictures
from vlmlens.view import View


def frames(
    videos: Pictures, grids: Sequence[View], counts: Sequence[int]
) -> list[tuple[View, ...]]:
    """Every video's frames: its grid once for each, with the frame's time.

    Args:
        videos: the videos, which know their frames' times unless they are raw tensors.
        grids: the grid of every video's frames.
        counts: how many frames every video has.
    """
    times = videos.seconds or [[math.nan] * count for count in counts]
    return [
        tuple(replace(grid, seconds=second) for second in own[:count])
        for grid, own, count in zip(grids, times, counts, strict=True)
    ]
