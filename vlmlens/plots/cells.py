"""Maps of cells: a coloured rectangle for every pair of entries, a dot where a test says so."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from jaxtyping import Float

from vlmlens.plots.arrays import entries, estimate
from vlmlens.plots.theme import SEQUENTIAL, colour_bar, diverging_scale, plain

#: Below this a corrected p has a dot.
ALPHA = 0.05


def coloured(
    cells: xr.Dataset, across: str, up: str, name: str = ""
) -> list[go.Heatmap | go.Scatter]:
    """A map of ``mean``, and dots where ``p_corrected`` is below 0.05.

    Args:
        cells: (up, across), in this order.
        across: the dimension along x.
        up: the dimension along y.
        name: what comes first where one points at a cell.
    """
    rows, columns = entries(cells, up), entries(cells, across)
    lead = f"{plain(name)}<br>" if name else ""
    hover = [
        [
            f"{lead}{up} {plain(row)}, {across} {plain(column)}<br>"
            f"{estimate(cells.isel({up: i, across: j}))}"
            for j, column in enumerate(columns)
        ]
        for i, row in enumerate(rows)
    ]
    heat = go.Heatmap(
        z=cells["mean"].values,
        hovertext=hover,
        hoverinfo="text",
        hoverongaps=False,
        xgap=1,
        ygap=1,
        coloraxis="coloraxis",
    )
    if "p_corrected" not in cells:
        return [heat]
    y, x = np.nonzero(cells["p_corrected"].values < ALPHA)
    dots = go.Scatter(
        x=x,
        y=y,
        mode="markers",
        marker={"color": "white", "size": 6, "line": {"color": "black", "width": 1}},
        showlegend=False,
        hoverinfo="skip",
    )
    return [heat, dots]


def colour_axis(mean: Float[np.ndarray, "..."], midpoint: float | None, name: str) -> dict:
    """The scale of a map: one direction, or two hues around a value that is neutral."""
    bar = colour_bar(name)
    if midpoint is None or np.isnan(mean).all():
        return {"colorscale": SEQUENTIAL, "colorbar": bar}
    low, high = min(float(np.nanmin(mean)), midpoint), max(float(np.nanmax(mean)), midpoint)
    scale = diverging_scale(low, high, midpoint)
    return {"colorscale": scale, "cmin": low, "cmax": high, "colorbar": bar}
