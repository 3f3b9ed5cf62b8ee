"""Positions by the frame of a video that they look at."""

from dataclasses import dataclass

import numpy as np

from vlmlens.errors import EmptySelectionError
from vlmlens.layout import TokenLayout
from vlmlens.positions.selection import Mask, Selection, there
from vlmlens.positions.written import Indices, indices


@dataclass(frozen=True, repr=False)
class Frame(Selection):
    """Vision tokens of one frame of a video or of several, counted from 0.

    Of frames that a tower merges, both are one. ``Frame(0) & Row(-1)`` is the bottom row of the
    first. A token of a frame that stands for no place (Video-LLaVA's first one) is of it, too.

    Attributes:
        index: which frames; negative numbers count from the last, fractions along the video.
        video: which of the sample's videos; None for each of them.

    Examples:
        >>> from vlmlens.positions import Frame
        >>> from vlmlens.zoo import tiny
        >>> qwen = vl.HookedVLM(*tiny.build("qwen2_vl"))
        >>> film = np.zeros((6, 16, 16, 3), np.uint8)
        >>> layout = qwen.inputs(videos=film, prompts="What moves?").layouts[0]
        >>> layout.frame[Frame((0, -1)).of(layout)].tolist()
        [0, 0, 0, 0, 2, 2, 2, 2]
    """

    index: Indices
    video: int | None = None

    def mask(self, layout: TokenLayout) -> Mask:
        if not layout.videos:
            raise EmptySelectionError(f"this sample holds no video; {there(layout)}")
        every = range(layout.videos)
        found = np.zeros(len(layout), dtype=bool)
        for video in every if self.video is None else indices(self.video, len(every), "video"):
            meant = indices(self.index, layout.frames(video), "frame")
            found |= (layout.video == video) & np.isin(layout.frame, meant)
        return found & ~layout.mask("pad")
