"""Pictures under figures: their bytes, the cells of a token grid on them, and how they are laid."""

import base64
from io import BytesIO
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from jaxtyping import Float, Int
from PIL import Image

from vlmlens.errors import InputError
from vlmlens.layout import EDGES, SIZE, SPANS
from vlmlens.plots.arrays import check_labelled

LONGEST_SIDE = 800


def folded(values: xr.DataArray, image: int = 0, tile: int = 0) -> xr.DataArray:
    """Values by position, as the grid of one image's tokens, or of one of its tiles.

    Args:
        values: along ``key`` or ``pos``, with the coordinates ``image``, ``row``, ``column`` and
            perhaps ``box``, as ``probes.attention_rows`` writes them; other dimensions stay.
            ``grid_rows`` and ``grid_columns`` say how large the grid is, where they are there;
            else the tokens do. Padding, which dropped tokens are, is left out where ``role`` is
            there.
        image: which of the sample's images.
        tile: which of its grids, where the values have the coordinate ``tile``.

    Returns:
        (..., row, column), with ``left``, ``top``, ``right`` and ``bottom`` (row, column) where the
        positions have boxes.

    Raises:
        InputError: no such coordinates, image or tile, or cells that make no grid.

    Examples:
        >>> run = model.run(model.inputs([sample]), save=vl.probes.rows.NEEDS)
        >>> rows = vl.probes.attention_rows(run).attention
        >>> dict(vl.plots.folded(rows.isel(query=-1)).sizes)
        {'layer': 4, 'head': 4, 'row': 8, 'column': 8}
    """
    check_labelled(values, "folded", (xr.DataArray,))
    along = next((dim for dim in ("key", "pos") if dim in values.dims), None)
    missing = [name for name in ("image", "row", "column") if name not in values.coords]
    if along is None or missing:
        raise InputError(
            "to fold values onto an image they need key or pos as a dimension, and image, row and "
            f"column along it; these have {values.dims} and lack {', '.join(missing) or along}"
        )
    of_it = (values["image"].values == image) & (values["row"].values >= 0)
    if "tile" in values.coords:
        of_it &= values["tile"].values == tile
    if "role" in values.coords:
        of_it &= values["role"].values != "pad"
    here = np.flatnonzero(of_it)
    if not len(here):
        raise InputError(f"no image {image} with a tile {tile} among these positions")
    row, column = values["row"].values[here], values["column"].values[here]
    rows, columns = grid_size(values, here)
    place = row * columns + column
    if not np.array_equal(np.sort(place), np.arange(rows * columns)):
        raise InputError(
            f"the positions of image {image} make no grid of {rows} x {columns}: there are "
            f"{len(here)}. Pass all of them, with the coordinate tile where the image has several; "
            "what a processor or an edit left out has no value (of a video of VideoLLaMA 3, "
            "videos_kwargs={'use_token_compression': False} keeps every patch)"
        )
    order = here[np.argsort(place)]
    part = values.isel({along: order}).transpose(..., along)
    other = [dim for dim in part.dims if dim != along]
    grid = xr.DataArray(
        part.values.reshape(*(part.sizes[dim] for dim in other), rows, columns),
        dims=(*other, "row", "column"),
        coords={dim: part[dim] for dim in other if dim in part.coords},
        name=values.name,
        attrs=values.attrs,
    )
    if not all(edge in part.coords for edge in EDGES) or np.isnan(part["left"].values).any():
        return grid
    box = {edge: part[edge].values.reshape(rows, columns) for edge in EDGES}
    return grid.assign_coords({edge: (("row", "column"), each) for edge, each in box.items()})


def grid_size(
    values: xr.DataArray | xr.Dataset, here: Int[np.ndarray, " patch"]
) -> tuple[int, int]:
    """Rows and columns of the largest grid that some positions lie on.

    As the values say; where they do not, as far as the positions' own rows and columns go.

    Args:
        values: with the coordinates ``row`` and ``column``, and perhaps ``SPANS``.
        here: which of their positions.
    """
    found = []
    for own, size in zip(("row", "column"), SPANS, strict=True):
        reach = int(values[own].values[here].max()) + 1
        said = int(values[size].values[here].max()) if size in values.coords else 0
        found.append(max(reach, said))
    return found[0], found[1]


def edges(
    grid: xr.DataArray, width: int, height: int
) -> tuple[Float[np.ndarray, " x"], Float[np.ndarray, " y"]]:
    """Where the columns and rows of a token grid begin and end, in pixels of the picture.

    From the coordinates ``left``, ``top``, ``right`` and ``bottom`` where they are there. Else the
    grid is stretched over the picture, if its cells are squares then, to a tenth: a processor
    that crops makes squares of what is none, and where it cropped the values do not say.

    Raises:
        InputError: boxes that are no grid, or are another picture's; or there are none, and the
            cells would be no squares.
    """
    if all(size in grid.coords for size in SIZE):
        own = tuple(int(grid[size]) for size in SIZE)
        if own != (width, height):
            raise InputError(
                f"the values are about a picture of {own[0]} x {own[1]} pixels, but this one has "
                f"{width:g} x {height:g}: pass the original"
            )
    if not all(edge in grid.coords for edge in EDGES):
        rows, columns = grid.sizes["row"], grid.sizes["column"]
        shape = (width / columns) / (height / rows)
        if not 1 / 1.1 <= shape <= 1.1:
            raise InputError(
                f"{rows} x {columns} cells of a picture of {width:g} x {height:g} pixels would be "
                "no squares, and the values do not say where on it they lie, which may be a part "
                "of it: pass what a probe gives of one sample, or plots.placed(values, layout)"
            )
        return np.linspace(0, width, columns + 1), np.linspace(0, height, rows + 1)
    left, top, right, bottom = (grid[e].transpose("row", "column").values for e in EDGES)
    x, y = np.append(left[0], right[0, -1]), np.append(top[:, 0], bottom[-1, 0])
    straight = np.allclose(left, x[:-1]) and np.allclose(top, y[:-1, None])
    if not straight:
        raise InputError("the cells' boxes are no grid: draw one tile at a time")
    if x.max() > width + 1 or y.max() > height + 1:
        raise InputError(
            f"the cells reach to ({x.max():g}, {y.max():g}), but the picture has {width:g} x "
            f"{height:g} pixels: pass the original, which the boxes are measured in"
        )
    return x, y


def within_picture(grid: xr.Dataset | xr.DataArray) -> Any:
    """The grid without the rows and columns that a smaller picture does not have.

    Maps of several samples are as large as the largest grid; boxes end where a sample's own does.
    """
    if "left" not in grid.coords:
        return grid
    there = grid["left"].notnull()
    return grid.isel(row=there.any("column").values, column=there.any("row").values)


def laid_under(fig: go.Figure, picture: Image.Image) -> None:
    """Put the picture under what is drawn; the axes count its pixels, y downwards."""
    width, height = picture.size
    fig.add_layout_image(
        source=data_uri(picture),
        x=0,
        y=0,
        sizex=width,
        sizey=height,
        xref="x",
        yref="y",
        sizing="stretch",
        layer="below",
    )
    hidden = {"visible": False, "constrain": "domain"}
    fig.update_xaxes(range=[0, width], **hidden)
    fig.update_yaxes(range=[height, 0], scaleanchor="x", scaleratio=1, **hidden)


def data_uri(picture: Image.Image) -> str:
    """The picture as text for a page; made smaller where it is large."""
    small = picture.copy()
    small.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    buffer = BytesIO()
    small.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
