"""Positions by where they look: cells of an image's grid, and pixels."""

from dataclasses import dataclass
from functools import partial

import numpy as np

from vlmlens.annotations import settle
from vlmlens.checks import number
from vlmlens.errors import EmptySelectionError
from vlmlens.layout import TokenLayout
from vlmlens.looking import edges
from vlmlens.positions.selection import SETTLED, Mask, Selection, there
from vlmlens.positions.written import Indices, indices


@dataclass(frozen=True, repr=False)
class Region(Selection):
    """Vision tokens in chosen rows and columns of the grid, both counted from 0 at the top left.

    Of an image in several tiles, and of a video's frames, they are rows and columns of each tile,
    as many as the largest has.

    Attributes:
        rows: which rows; None for all.
        columns: which columns; None for all.
        image: which of the sample's images; None for each of them.
        tile: which of the image's tiles, or frames; None for all. Only their rows and columns
            count then.

    Examples:
        >>> from vlmlens.positions import Region
        >>> layout = model.inputs(sample).layouts[0]  # a grid of 8 x 8
        >>> int(Region(rows=(0.0, 0.5), columns=-1).of(layout).sum())
        4
    """

    rows: Indices | None = None
    columns: Indices | None = None
    image: int | None = None
    tile: Indices | None = None

    def mask(self, layout: TokenLayout) -> Mask:
        found = np.zeros(len(layout), dtype=bool)
        for image in _images(layout, self.image):
            shown, here = layout.image == image, layout.vision(image)
            if self.tile is not None:
                tiles = indices(self.tile, layout.tiles(image), "tile")
                shown = shown & np.isin(layout.tile, tiles)
                here = here[shown[here]]
            lines = {"row": (layout.row, self.rows), "column": (layout.column, self.columns)}
            meant = np.ones(len(here), dtype=bool)
            for what, (line, asked) in lines.items():
                if asked is not None:
                    count = int(line[shown].max(initial=-1)) + 1  # as they were shown
                    meant &= np.isin(line[here], indices(asked, count, what))
            found[here[meant]] = True
        return found


@dataclass(frozen=True, repr=False)
class Row(Selection):
    """Vision tokens of one row or several, from the top; see ``Region``.

    Examples:
        >>> from vlmlens.positions import Row
        >>> layout = model.inputs(sample).layouts[0]
        >>> layout.row[Row(-1).of(layout)]
        array([7, 7, 7, 7, 7, 7, 7, 7])
    """

    index: Indices
    image: int | None = None

    def mask(self, layout: TokenLayout) -> Mask:
        return Region(self.index, None, self.image).mask(layout)


@dataclass(frozen=True, repr=False)
class Column(Selection):
    """Vision tokens of one column or several, from the left; see ``Region``.

    Examples:
        >>> from vlmlens.positions import Column
        >>> layout = model.inputs(sample).layouts[0]
        >>> int(Column((0, 1)).of(layout).sum())
        16
    """

    index: Indices
    image: int | None = None

    def mask(self, layout: TokenLayout) -> Mask:
        return Region(None, self.index, self.image).mask(layout)


@dataclass(frozen=True, repr=False)
class Cell(Selection):
    """The vision token at one row and column; see ``Region``.

    Examples:
        >>> from vlmlens.positions import Cell
        >>> layout = model.inputs(sample).layouts[0]
        >>> Cell(0, 1).of(layout).nonzero()[0] - layout.vision(0)[0]
        array([1])
    """

    row: int
    column: int
    image: int | None = None

    def mask(self, layout: TokenLayout) -> Mask:
        return Region(self.row, self.column, self.image).mask(layout)


@dataclass(frozen=True, repr=False)
class Box(Selection):
    """Vision tokens that look at a box of the original image, in its pixels.

    Attributes:
        left: its left edge.
        top: its upper edge.
        right: its right edge.
        bottom: its lower edge.
        image: which of the sample's images; None for each of them.

    Examples:
        >>> from vlmlens.positions import Box
        >>> layout = model.inputs(sample).layouts[0]  # a picture of 224 x 224 pixels: 28 a token
        >>> int(Box(0, 0, 56, 28).of(layout).sum())
        2
    """

    left: int | float
    top: int | float
    right: int | float
    bottom: int | float
    image: int | None = None

    def __post_init__(self):
        edge = partial(number, finite=False)  # inf is as far as the picture goes
        settle(self, {**SETTLED, frozenset({int, float}): edge})
        edges((self.left, self.top, self.right, self.bottom))

    def mask(self, layout: TokenLayout) -> Mask:
        found = np.zeros(len(layout), dtype=bool)
        box = (self.left, self.top, self.right, self.bottom)
        for image in _images(layout, self.image):
            found[layout.within(box, image)] = True
        return found

    def of(self, layout: TokenLayout) -> Mask:
        found = self.mask(layout)
        if not found.any():
            seen = layout.box[layout.row >= 0]
            low, high = np.nanmin(seen[:, :2], 0), np.nanmax(seen[:, 2:], 0)
            raise EmptySelectionError(
                f"no vision token looks at {self!r}; they see pixels "
                f"{low[0]:g}..{high[0]:g} across and {low[1]:g}..{high[1]:g} down"
            )
        return found


def _images(layout: TokenLayout, image: int | None) -> list[int]:
    if layout.images == 0:
        raise EmptySelectionError(f"this sample holds no image; {there(layout)}")
    return list(range(layout.images)) if image is None else indices(image, layout.images, "image")
