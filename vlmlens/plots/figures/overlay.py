"""Values of the image tokens, on the image."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from vlmlens.picture import Picture, open_picture
from vlmlens.plots.arrays import check_dims, entries, title_of
from vlmlens.plots.cells import neutral
from vlmlens.plots.picture import edges, laid_under, within_picture
from vlmlens.plots.theme import (
    SEQUENTIAL,
    TEMPLATE,
    colour_bar,
    heading,
    plain,
    veiled,
    veiled_around,
)


def overlay(
    image: Picture,
    values: xr.DataArray,
    *,
    title: str | None = None,
    midpoint: float | None = None,
) -> go.Figure:
    """The picture, and over each cell of the token grid a colour, the stronger the more it says.

    Colours let the picture through, so over a coloured object they are no longer those of the bar:
    read amounts by pointing. Low values (of a scale with a middle, those near it) leave the picture
    as it is. Cells lie where their tokens look: at the coordinates ``left``, ``top``, ``right``,
    ``bottom``, which probes, ``plots.folded`` and ``plots.placed`` give. Without them the grid is
    stretched over the whole picture, row 0 at the top, where that makes squares of its cells.

    Args:
        image: a picture, in any way that a sample takes it: the original, upright as people see it.
        values: (row, column), for example of one sample, layer and head of
            ``probes.image_attention``, or from ``plots.folded``; NaN cells show the bare picture.
        title: above the picture.
        midpoint: a value to be neutral, with two hues around it, such as 0 for a change. By
            default the attribute ``midpoint`` of the values, or 0 where they lie on both sides of
            it; else, and with NaN, the scale has one direction.

    Raises:
        InputError: the values are no (row, column) grid, are another picture's, or do not say
            where on this one they lie.
        ImageError: the picture cannot be read.

    Examples:
        >>> run = model.run(model.inputs([sample]), save=vl.probes.attention_maps.NEEDS)
        >>> found = vl.probes.image_attention(run).isel(sample=0, layer=3, head=0)
        >>> fig = vl.plots.overlay(sample.images[0], found)
        >>> fig.data[0].z.shape
        (8, 8)
    """
    check_dims(values, "an overlay", ("row", "column"))
    picture = open_picture(image)
    grid = within_picture(values.transpose("row", "column", ...))
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
        opacity=0.85,
        colorscale=veiled(SEQUENTIAL),
        colorbar=colour_bar(title_of(values)),
    )
    middle = neutral(values, midpoint)
    if middle is not None and not np.isnan(grid.values).all():
        low = min(float(np.nanmin(grid.values)), middle)
        high = max(float(np.nanmax(grid.values)), middle)
        heat.update(zmin=low, zmax=high, colorscale=veiled_around(low, high, middle))
    fig = go.Figure(heat)
    laid_under(fig, picture)
    fig.update_layout(
        template=TEMPLATE,
        **heading(title),
        height=440,
    )
    return fig
