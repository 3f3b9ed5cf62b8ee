"""A video's frames, each of them a grid of its own."""

import math
from collections.abc import Sequence
from dataclasses import replace

from vlmlens.errors import InputError
from vlmlens.families.family import Pictures
from vlmlens.families.geometry import covered
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


def square_frames(videos: Pictures, side: int, seen: int) -> list[tuple[View, ...]]:
    """Every frame is a square of tokens, pooled from the patches of a tower that takes squares.

    Args:
        videos: the videos, each of as many frames.
        side: tokens along a frame's side.
        seen: pixels along it that they are made of, from the left and the top.

    Raises:
        InputError: frames of another size than the tower's.
    """
    _, count, _, height, width = videos.tensors["pixel_values_videos"].shape
    pixels = videos.config.vision_config.image_size
    if (height, width) != (pixels, pixels):
        raise InputError(
            f"frames of {width} x {height} pixels, and this model's tower takes {pixels} x "
            f"{pixels}: let the video processor resize and crop to that"
        )
    grids = [
        View(side, side, covered(videos.processor, size, (seen, seen))) for size in videos.sizes
    ]
    return frames(videos, grids, [count] * len(grids))
