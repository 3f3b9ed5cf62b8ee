"""A map of layers and heads."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from vlmlens.plots.arrays import check_dims, entries, estimate, mean_interval, title_of
from vlmlens.plots.theme import (
    COLOUR_BAR,
    EMPTY,
    SEQUENTIAL,
    TEMPLATE,
    diverging_scale,
    plain,
    ticks,
)


def heads(
    values: xr.DataArray, *, title: str | None = None, midpoint: float | None = None
) -> go.Figure:
    """One coloured cell for every head of every layer, the layer nearest the input at the bottom.

    A cell is the mean over samples; pointing at it shows the mean's 95 % bootstrap interval and n.
    The intervals are each cell's own: over a whole map some exclude a value by chance.

    Args:
        values: (layer, head) or (sample, layer, head). NaN cells stay grey.
        title: above the map.
        midpoint: a value to be neutral, with two hues around it, such as 0 for a change or 1
            for a ratio. Without one the scale has one direction.

    Raises:
        InputError: a dimension is missing, or there is one more than the map has room for.
    """
    check_dims(values, "a map of heads", ("layer", "head"), optional=("sample",))
    cells = mean_interval(values).transpose("layer", "head")
    mean = cells["mean"].values
    layers, names = entries(values, "layer"), entries(values, "head")
    hover = [
        [
            f"layer {plain(layer)}, head {plain(head)}<br>{estimate(cells.isel(layer=i, head=j))}"
            for j, head in enumerate(names)
        ]
        for i, layer in enumerate(layers)
    ]
    heat = go.Heatmap(
        z=mean,
        hovertext=hover,
        hoverinfo="text",
        hoverongaps=False,
        xgap=1,
        ygap=1,
        colorscale=SEQUENTIAL,
        colorbar=COLOUR_BAR | {"title": {"text": title_of(values), "side": "right"}},
    )
    if midpoint is not None and not np.isnan(mean).all():
        low, high = min(np.nanmin(mean), midpoint), max(np.nanmax(mean), midpoint)
        heat.update(zmin=low, zmax=high, colorscale=diverging_scale(low, high, midpoint))
    fig = go.Figure(heat)
    fig.update_xaxes(title_text="head", showgrid=False, **ticks(names))
    fig.update_yaxes(
        title_text="layer (0 is nearest the input)", showgrid=False, **ticks(layers, most=20)
    )
    fig.update_layout(
        template=TEMPLATE,
        title_text=title and plain(title),
        plot_bgcolor=EMPTY,
        margin_t=48 if title else 16,
        height=min(640, max(300, 120 + 20 * len(layers))),
    )
    return fig
