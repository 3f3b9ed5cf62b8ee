"""Values of the image tokens, on the image."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from PIL import Image

from vlmlens.plots.arrays import check_dims, entries, title_of
from vlmlens.plots.picture import edges, laid_under, opened
from vlmlens.plots.theme import COLOUR_BAR, SEQUENTIAL, TEMPLATE, diverging_scale, plain


def overlay(
    image: Image.Image | np.ndarray,
    values: xr.DataArray,
    *,
    title: str | None = None,
    midpoint: float | None = None,
) -> go.Figure:
    """The picture, and over each cell of the token grid a half-transparent colour.

    Cells lie where their tokens look: at the coordinates ``left``, ``top``, ``right``, ``bottom``.
    Without them the grid is stretched over the whole picture, row 0 at the top: right for
    processors that resize, and off by the cropped margin for those that crop.

    Args:
        image: a picture, or an array (height, width) or (height, width, channel): bytes, or
            floats from 0 to 1.
        values: (row, column), for example from ``plots.folded``; NaN cells show the bare picture.
        title: above the picture.
        midpoint: a value to be neutral, with two hues around it, such as 0 for a change.

    Raises:
        InputError: the values are no (row, column) grid, or the array is no picture.
    """
    check_dims(values, "an overlay", ("row", "column"))
    picture = opened(image)
    grid = values.transpose("row", "column", ...)
    x, y = edges(grid, *picture.size)
    rows, columns = entries(grid, "row"), entries(grid, "column")
    hover = [
        [
            f"row {plain(row)}, column {plain(column)}<br>{grid.values[i, j]:.4g}"
            for j, column in enumerate(columns)
        ]
        for i, row in enumerate(rows)
    ]
    heat = go.Heatmap(
        z=grid.values,
        x=x,
        y=y,
        hovertext=hover,
        hoverinfo="text",
        hoverongaps=False,
        opacity=0.6,
        colorscale=SEQUENTIAL,
        colorbar=COLOUR_BAR | {"title": {"text": title_of(values), "side": "right"}},
    )
    if midpoint is not None and not np.isnan(grid.values).all():
        low = min(np.nanmin(grid.values), midpoint)
        high = max(np.nanmax(grid.values), midpoint)
        heat.update(zmin=low, zmax=high, colorscale=diverging_scale(low, high, midpoint))
    fig = go.Figure(heat)
    laid_under(fig, picture)
    fig.update_layout(
        template=TEMPLATE,
        title_text=title and plain(title),
        margin_t=48 if title else 16,
        height=440,
    )
    return fig
