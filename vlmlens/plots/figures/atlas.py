"""Every head at once: where each looks in the image, as one mosaic."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from jaxtyping import Float, Shaped

from vlmlens.errors import InputError
from vlmlens.plots.arrays import check_dims, entries, title_of
from vlmlens.plots.theme import EMPTY, SEQUENTIAL, TEMPLATE, colour_bar, heading, plain, ticks

SCALES = ("head", "shared")
#: Cells that get a text of their own to point at; more would make the page heavy and slow.
MOST_TEXTS = 60_000


def atlas(values: xr.DataArray, *, scale: str = "head", title: str | None = None) -> go.Figure:
    """One small map of the image for every head, the layer nearest the input at the bottom.

    The whole is a single picture, so that a thousand heads stay quick. Up to 60,000 cells tell
    their layer, head and place when pointed at; in larger mosaics they tell their value alone.

    Args:
        values: (layer, head, row, column), not negative, for example attention folded onto the
            image by ``plots.folded``.
        scale: ``"head"`` colours each map up to its own largest value, to compare patterns;
            ``"shared"`` colours all alike, to compare amounts.
        title: above the mosaic.

    Raises:
        InputError: another dimension, or a scale that is not there.

    Examples:
        >>> run = model.run(model.inputs([sample]), save=vl.probes.attention_maps.NEEDS)
        >>> maps = vl.probes.image_attention(run).isel(sample=0)
        >>> type(vl.plots.atlas(maps)).__name__
        'Figure'
    """
    check_dims(values, "an atlas of heads", ("layer", "head", "row", "column"))
    if scale not in SCALES:
        raise InputError(f"scale={scale!r}; there is: {', '.join(SCALES)}")
    every = values.transpose("layer", "head", "row", "column", ...)
    cells = every.values.astype(float)
    own = cells.max((2, 3), keepdims=True)
    drawn = cells / np.where(own > 0, own, 1) if scale == "head" else cells
    layers, heads = entries(every, "layer"), entries(every, "head")
    bar = "share of the head's largest" if scale == "head" else title_of(values)
    rows, columns = cells.shape[2] + 1, cells.shape[3] + 1  # a gap after every map
    heat = go.Heatmap(
        z=_mosaic(drawn),
        hovertemplate="%{z:.3g}<extra></extra>",
        hoverongaps=False,
        zmin=0,
        colorscale=SEQUENTIAL,
        colorbar=colour_bar(bar),
    )
    if cells.size <= MOST_TEXTS:
        texts = _mosaic(_texts(cells, layers, heads), "")
        heat.update(hovertext=texts, hoverinfo="text", hovertemplate=None)
    fig = go.Figure(heat)
    across = _ticks(heads, columns, cells.shape[3])
    up = _ticks(layers[::-1], rows, cells.shape[2])
    fig.update_xaxes(title_text="head", showgrid=False, **across)
    fig.update_yaxes(title_text="layer (0 is nearest the input)", showgrid=False, **up)
    fig.update_yaxes(autorange="reversed", scaleanchor="x", constrain="domain")
    fig.update_xaxes(constrain="domain")
    fig.update_layout(
        template=TEMPLATE,
        plot_bgcolor=EMPTY,
        **heading(title),
        height=min(900, max(420, 90 + 110 * len(layers))),
    )
    return fig


def _ticks(labels: list[str], step: int, size: int) -> dict:
    """Names under the middles of maps that are ``step`` cells apart and ``size`` wide."""
    shown = ticks(labels, most=20)
    return shown | {"tickvals": [at * step + (size - 1) / 2 for at in shown["tickvals"]]}


def _mosaic(
    cells: Shaped[np.ndarray, "layer head row column"], gap: object = np.nan
) -> Shaped[np.ndarray, "y x"]:
    """(layer, head, row, column) as one plane: last layer first, and a gap between maps."""
    padded = np.pad(cells[::-1], ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=gap)  # type: ignore[arg-type]
    layers, heads, rows, columns = padded.shape
    return padded.transpose(0, 2, 1, 3).reshape(layers * rows, heads * columns)[:-1, :-1]


def _texts(
    cells: Float[np.ndarray, "layer head row column"], layers: list[str], heads: list[str]
) -> Shaped[np.ndarray, "layer head row column"]:
    text = np.empty(cells.shape, dtype=object)
    for at, value in np.ndenumerate(cells):
        layer, head, row, column = at
        text[at] = (
            f"layer {plain(layers[layer])}, head {plain(heads[head])}<br>"
            f"row {row}, column {column}: {value:.3g}"
        )
    return text
