"""View: one grid of vision tokens, and what of a picture or frame each of them covers."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class View:
    """One grid of vision tokens: all of an image, one tile of it, or one frame of a video.

    Attributes:
        rows: of tokens.
        columns: of tokens.
        box: left, top, right, bottom of what the grid covers, in pixels of the ORIGINAL image;
            None where the original's size is unknown. Padding lies outside the image.
        thumbnail: whether it is a small copy of the whole image, beside tiles of it.
        newlines: learned tokens that end rows: after ``"each"`` row, after the ``"last"``, or none.
        registers: learned tokens after all others, which stand for no place.
        leading: such tokens before all others.
        kept: whether there is a token of each of its patches, row by row; by default of all. A
            processor may leave out what resembles the frame before.
        across: left and right edge of every column, in pixels of the original; by default equal
            parts of the box. A tower that sees whole patches only leaves gaps between tiles.
        down: top and bottom edge of every row.
        seconds: of a video's frame, its time; NaN where nobody knows.
    """

    rows: int
    columns: int
    box: tuple[float, float, float, float] | None = None
    thumbnail: bool = False
    newlines: Literal["each", "last", ""] = ""
    registers: int = 0
    leading: int = 0
    kept: tuple[bool, ...] = ()
    across: tuple[tuple[float, float], ...] = ()
    down: tuple[tuple[float, float], ...] = ()
    seconds: float = math.nan

    @property
    def size(self) -> int:
        """How many positions it takes, with newlines and what stands for no place."""
        extra = {"each": self.rows, "last": 1, "": 0}[self.newlines]
        patches = sum(self.kept) if self.kept else self.rows * self.columns
        return self.leading + patches + extra + self.registers

    def boxes(self, original: tuple[int, int] | None) -> Float[np.ndarray, "patch 4"]:
        """What each patch covers, row by row, cut off at the edges of the original image."""
        if self.box is None or original is None:
            return np.full((self.rows * self.columns, 4), np.nan)
        left, top, right, bottom = self.box
        across = np.array(self.across or _parts(left, right, self.columns)).reshape(-1, 2)
        down = np.array(self.down or _parts(top, bottom, self.rows)).reshape(-1, 2)
        boxes = np.empty((self.rows, self.columns, 4))
        boxes[..., [0, 2]] = np.clip(across, 0, original[0])
        boxes[..., [1, 3]] = np.clip(down, 0, original[1])[:, None]
        return boxes.reshape(-1, 4)


def covered(boxes: Float[np.ndarray, "box 4"]) -> float:
    """The area of all boxes together, what several of them cover counted once."""
    xs, ys = np.unique(boxes[:, [0, 2]]), np.unique(boxes[:, [1, 3]])
    inside = np.zeros((len(ys) - 1, len(xs) - 1), dtype=bool)
    ends = zip(
        *(np.searchsorted(xs, boxes[:, at]) for at in (0, 2)),
        *(np.searchsorted(ys, boxes[:, at]) for at in (1, 3)),
        strict=True,
    )
    for left, right, top, bottom in ends:
        inside[top:bottom, left:right] = True
    return float((np.diff(ys)[:, None] * np.diff(xs) * inside).sum())


def _parts(start: float, end: float, parts: int) -> list[tuple[float, float]]:
    """Both edges of each of so many equal parts of a length."""
    edges = np.linspace(start, end, parts + 1)
    return list(pairwise(edges.tolist()))
