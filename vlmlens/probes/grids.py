"""From positions to the image's rows and columns."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Shaped

from vlmlens.errors import InputError
from vlmlens.layout import EDGES, SIZE, TokenLayout

#: Left, top, right, bottom, in pixels of the original image.
Box = Sequence[int | float]


def patches(layout: TokenLayout, image: int = 0, tile: int = 0) -> Int[np.ndarray, " patch"]:
    """The positions of one image's tokens on one of its tiles, row by row.

    Raises:
        EmptySelectionError: the sample holds no such image, or the image no such tile.
        InputError: places without a token.
    """
    _whole_grid(layout, len(layout.vision(image, tile)), image, tile)
    return layout.vision(image, tile)


def on_grid(
    layout: TokenLayout,
    values: Shaped[np.ndarray, "*lead patch"],
    image: int = 0,
    tile: int = 0,
) -> Shaped[np.ndarray, "*lead row column"]:
    """One number a patch, as rows and columns.

    Raises:
        InputError: places without a token, of which there is no number.
    """
    rows, columns = _whole_grid(layout, values.shape[-1], image, tile)
    return values.reshape(*values.shape[:-1], rows, columns)


def _whole_grid(layout: TokenLayout, tokens: int, image: int, tile: int) -> tuple[int, int]:
    """Rows and columns of a grid with as many tokens as places."""
    rows, columns = layout.grid(image, tile)  # says what is there, if this is not
    if tokens != rows * columns:
        raise InputError(
            f"tile {tile} of image {image} has {tokens} token(s) on {rows} x {columns} places, so "
            "they make no grid: a processor or an edit left some out. Measure them position by "
            "position, or keep all of them (of a video of VideoLLaMA 3, "
            "videos_kwargs={'use_token_compression': False})"
        )
    return rows, columns


def looking_at(
    layouts: Sequence[TokenLayout], image: int = 0, tile: int = 0
) -> dict[str, tuple[tuple[str, ...], Shaped[np.ndarray, "..."]]]:
    """Coordinates that say where on its picture each cell of some samples' maps looks.

    ``left``, ``top``, ``right``, ``bottom`` (sample, row, column) in pixels of the original, and
    its ``picture_width`` and ``picture_height`` (sample). Nothing where sizes are unknown.
    """
    sizes = [layout.sizes[image] if image < len(layout.sizes) else None for layout in layouts]
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes):
        return {}
    own = [on_grid(lay, lay.box[patches(lay, image, tile)].T, image, tile) for lay in layouts]
    boxes = side_by_side(own)
    found: dict[str, tuple[tuple[str, ...], np.ndarray]] = {
        edge: (("sample", "row", "column"), boxes[:, at]) for at, edge in enumerate(EDGES)
    }
    for at, name in enumerate(SIZE):
        found[name] = (("sample",), np.array([size[at] for size in known]))
    return found


def side_by_side(
    maps: Sequence[Float[np.ndarray, "..."]],
) -> Float[np.ndarray, "..."]:
    """Samples' maps, whose last axes are row and column, in one array.

    Maps on smaller grids get NaN at the right and at the bottom.
    """
    rows = max(m.shape[-2] for m in maps)
    columns = max(m.shape[-1] for m in maps)
    whole = np.full((len(maps), *maps[0].shape[:-2], rows, columns), np.nan)
    for index, m in enumerate(maps):
        whole[index, ..., : m.shape[-2], : m.shape[-1]] = m
    return whole
