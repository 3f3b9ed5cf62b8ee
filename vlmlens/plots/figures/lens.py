"""The logit lens over the image: the token that every vision position is nearest to."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from jaxtyping import Float

from vlmlens.picture import Picture, open_picture
from vlmlens.plots.arrays import check_dims, check_variable, entries
from vlmlens.plots.picture import edges, laid_under, within_picture
from vlmlens.plots.theme import INK, SEQUENTIAL, TEMPLATE, colour_bar, heading, plain

LONGEST_TOKEN = 9


def lens(image: Picture, table: xr.Dataset, *, title: str | None = None) -> go.Figure:
    """The picture, and in every cell the likeliest token, coloured by its probability.

    With a dimension ``layer`` a slider goes through the layers; the last one is shown first.
    Colours are those of one scale, from 0 to the largest probability of all layers.

    Args:
        image: as in ``overlay``.
        table: ``word`` and ``log_prob`` (nats), each (row, column) or (layer, row, column);
            perhaps with ``left``, ``top``, ``right``, ``bottom``.
        title: above the picture.

    Raises:
        InputError: a variable or dimension that is missing.

    Examples:
        >>> need = vl.probes.lens_needs(model, best=1)
        >>> run = model.run(model.inputs([sample]), save=need)
        >>> found = vl.probes.logit_lens(run, need, model.processor.tokenizer).isel(rank=0)
        >>> grids = found[["word", "log_prob"]].map(vl.probes.on_image, args=(run,))
        >>> fig = vl.plots.lens(sample.images[0], grids.isel(sample=0))
        >>> len(fig.layout.sliders[0].steps)
        4
    """
    check_variable(table, "a logit lens", ("word", "log_prob"))
    for name in ("word", "log_prob"):
        check_dims(table[name], "a logit lens", ("row", "column"), optional=("layer",))
    picture = open_picture(image)
    deep = table if "layer" in table["log_prob"].dims else table.expand_dims(layer=[""])
    deep = within_picture(deep.transpose("layer", "row", "column", ...))
    x, y = edges(deep["log_prob"].isel(layer=0), *picture.size)
    layers, most = entries(deep, "layer"), float(np.exp(deep["log_prob"]).max())
    fig = go.Figure()
    for at in range(len(layers)):
        fig.add_traces(_cells(deep.isel(layer=at), x, y, most))
        fig.add_traces(_words(deep.isel(layer=at), x, y))
    for at, trace in enumerate(fig.data):
        trace.visible = at // 2 == len(layers) - 1
    laid_under(fig, picture)
    several = len(layers) > 1
    fig.update_layout(
        template=TEMPLATE,
        **heading(title),
        margin_b=80 if several else 16,
        height=560 if several else 500,
        sliders=[_slider(layers)] if several else [],
    )
    return fig


def _cells(
    table: xr.Dataset, x: Float[np.ndarray, " x_edge"], y: Float[np.ndarray, " y_edge"], most: float
) -> go.Heatmap:
    tokens, chances = table["word"].values, np.exp(table["log_prob"].values)
    return go.Heatmap(
        z=chances,
        x=x,
        y=y,
        zmin=0,
        zmax=most,
        hovertext=[
            [
                f"row {i}, column {j}<br>{plain(repr(str(token)))}<br>p = {chances[i, j]:.3g}"
                for j, token in enumerate(row)
            ]
            for i, row in enumerate(tokens)
        ],
        hoverinfo="text",
        opacity=0.7,
        colorscale=SEQUENTIAL,
        colorbar=colour_bar("probability"),
    )


def _words(
    table: xr.Dataset, x: Float[np.ndarray, " x_edge"], y: Float[np.ndarray, " y_edge"]
) -> go.Scatter:
    tokens = table["word"].values
    middle_x, middle_y = (x[:-1] + x[1:]) / 2, (y[:-1] + y[1:]) / 2
    cell = 440 / tokens.shape[1]  # about so many pixels wide when drawn
    longest = max(len(_short(str(token))) for token in tokens.ravel())
    return go.Scatter(
        x=np.tile(middle_x, len(middle_y)),
        y=np.repeat(middle_y, len(middle_x)),
        mode="text",
        text=[plain(_short(str(token))) for token in tokens.ravel()],
        # White with a dark rim reads on every colour of the scale.
        textfont={
            "size": max(7, min(14, 1.6 * cell / longest)),
            "color": "#fefefe",
            "shadow": "auto",
        },
        showlegend=False,
        hoverinfo="skip",
    )


def _slider(layers: Sequence[str]) -> dict:
    steps = [
        {
            "label": plain(layer),
            "method": "restyle",
            "args": [{"visible": [trace // 2 == at for trace in range(2 * len(layers))]}],
        }
        for at, layer in enumerate(layers)
    ]
    return {
        "active": len(layers) - 1,
        "steps": steps,
        "currentvalue": {"prefix": "layer ", "font": {"color": INK}},
        "pad": {"t": 8},
    }


def _short(token: str) -> str:
    token = token.replace("\n", "⏎").strip() or "␣"
    return token if len(token) <= LONGEST_TOKEN else token[: LONGEST_TOKEN - 1] + "…"
