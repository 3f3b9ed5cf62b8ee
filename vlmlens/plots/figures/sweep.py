"""A patching sweep: layers against tokens, the image's tokens folded onto their grid."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from jaxtyping import Bool, Float, Shaped
from plotly.subplots import make_subplots

from vlmlens.errors import InputError
from vlmlens.plots.arrays import check_dims, entries, estimates, shown, summary, title_of
from vlmlens.plots.cells import ALPHA, above, dots
from vlmlens.plots.picture import folded
from vlmlens.plots.theme import (
    EMPTY,
    SEQUENTIAL,
    TEMPLATE,
    colour_bar,
    diverging_scale,
    plain,
    ticks,
)

ALONG = ("token", "image", "row", "column")
#: Layers whose grids are drawn: evenly some, where there are more.
MOST_GRIDS = 8
#: Pixels between the maps, for the words under the upper one; and the width they are laid out for.
GAP, WIDE = 80, 720

Plane = Float[np.ndarray, "layer column"]
Words = Shaped[np.ndarray, "layer column"]
Marks = Bool[np.ndarray, "layer column"]


def sweep(
    effect: xr.DataArray | xr.Dataset, *, title: str | None = None, midpoint: float | None = 0.0
) -> go.Figure:
    """Above, the effect of every layer and word; below, that of every image token, by layer.

    The words are the tokens as the model reads them, in their order. All tokens of an image share
    one column, coloured by the strongest of them, "max of 64": beside single words it shows
    the largest of many, not what they do together. They are spread out below on the image's own
    grid, one small map a layer. Everything is in one scale. Pointing at a cell shows its mean, the
    mean's 95 % interval and n; where the table has ``p_corrected``, cells below 0.05 carry a dot.

    Args:
        effect: (layer, pos), or with ``sample``, which is averaged; or a table with ``mean``,
            ``low``, ``high`` and ``p_corrected``, as ``map_test`` returns. Along ``pos`` it has
            the coordinates ``token``, ``image``, ``row`` and ``column`` (-1 for words).
        title: above the maps.
        midpoint: the value that means no effect; None for a scale of one direction.

    Raises:
        InputError: a dimension or coordinate is missing, or one is too many.

    Examples:
        >>> pair = vl.datasets.counterfactual_pairs(1, kind="swap")[0]
        >>> clean = model.inputs([pair.clean], answers=[pair.clean.answer])
        >>> corrupted = model.inputs([pair.corrupted], answers=[pair.clean.answer])
        >>> effect = vl.probes.attribution_patching(model, clean, corrupted).isel(sample=0)
        >>> fig = vl.plots.sweep(vl.plots.placed(effect, clean.layouts[0]))
        >>> fig.layout.yaxis.title.text
        'layer'
    """
    cells = summary(effect, "a sweep")
    given = shown(effect)
    check_dims(given, "a sweep", ("layer", "pos"), optional=("sample",))
    if missing := [n for n in ALONG if n not in given.coords or given[n].dims != ("pos",)]:
        raise InputError(f"a sweep needs the coordinates {', '.join(missing)} along pos")
    cells = cells.transpose("layer", "pos")
    mean = cells["mean"]
    told = mean.copy(data=estimates(cells))
    found = mean.copy(data=cells["p_corrected"].values < ALPHA if "p_corrected" in cells
                      else np.zeros(mean.shape, dtype=bool))  # fmt: skip
    images = sorted({int(image) for image in mean["image"].values if image >= 0})
    layers = entries(mean, "layer")
    grids = {image: [folded(each, image) for each in (mean, told, found)] for image in images}
    heights = [max(160, 20 * len(layers)), *(_tall(grid) for grid, *_ in grids.values())]
    height = sum(heights) + GAP * (len(heights) + 1)
    fig = make_subplots(
        rows=1 + len(images),
        row_heights=[float(each) for each in heights],
        vertical_spacing=GAP / height if images else 0.0,
    )
    columns, *words = _columns(mean, told, found)
    heat = {"hoverinfo": "text", "hoverongaps": False, "coloraxis": "coloraxis"}
    _drawn(fig, 1, words, heat | {"xgap": 1, "ygap": 1})
    names = {"tickvals": list(range(len(columns))), "ticktext": columns}
    fig.update_xaxes(showgrid=False, tickangle=-45, row=1, col=1, **names)
    up = ticks(layers, most=16)
    fig.update_yaxes(title_text="layer", showgrid=False, row=1, col=1, **up)
    for at, (image, parts) in enumerate(grids.items()):
        _grids(fig, parts, layers, row=2 + at, heat=heat, image=image)
    low, high = float(np.nanmin(mean.values)), float(np.nanmax(mean.values))
    scale = {"colorscale": SEQUENTIAL}
    if midpoint is not None:
        low, high = min(low, midpoint), max(high, midpoint)
        scale = {"colorscale": diverging_scale(low, high, midpoint), "cmin": low, "cmax": high}
    bar, top = colour_bar(title_of(given)), above(fig, title, tall=height)
    fig.update_layout(
        template=TEMPLATE,
        coloraxis=scale | {"colorbar": bar},
        plot_bgcolor=EMPTY,
        height=height + top["margin_t"] - 16,
        **top,
    )
    return fig


def _columns(
    mean: xr.DataArray, told: xr.DataArray, found: xr.DataArray
) -> tuple[list[str], Plane, Words, Marks]:
    """The words and images in their order: names, values, what pointing tells, and dots."""
    image, tokens = mean["image"].values, mean["token"].values
    layers = entries(mean, "layer")
    names, values, hover, marks = [], [], [], []
    for at, which in enumerate(image):
        if which >= 0 and which in image[:at]:
            continue
        here = np.flatnonzero(image == which) if which >= 0 else np.array([at])
        size = np.abs(np.nan_to_num(mean.values[:, here]))
        best = np.arange(len(layers)), here[size.argmax(1)]
        many = f"image {which}:<br>max of {len(here)}"
        names.append(many if which >= 0 else plain(_word(str(tokens[at]))))
        word = f"{tokens[at]!r}, position {at}"
        if which >= 0:
            word = f"the strongest of {len(here)} tokens of image {which}"
        lead = [f"layer {plain(layer)}<br>{plain(word)}<br>" for layer in layers]
        hover.append([a + b for a, b in zip(lead, told.values[best], strict=True)])
        values.append(mean.values[best])
        marks.append(found.values[best])
    return names, np.stack(values, 1), np.stack(hover, 1), np.stack(marks, 1)


def _drawn(
    fig: go.Figure, row: int, parts: Sequence[Shaped[np.ndarray, "row across"]], heat: dict
) -> None:
    """A map of values, what pointing tells and dots; the legend has the first map's dots."""
    values, hover, marks = parts
    fig.add_trace(go.Heatmap(z=values, hovertext=hover, **heat), row=row, col=1)
    y, x = np.nonzero(marks)
    if len(x):
        listed = all(trace.legendgroup != "dots" for trace in fig.data)
        fig.add_trace(dots(x, y, listed=listed), row=row, col=1)


def _grids(
    fig: go.Figure,
    parts: Sequence[xr.DataArray],
    layers: list[str],
    *,
    row: int,
    heat: dict,
    image: int,
):
    """One small map of the image a layer, side by side, as one plane with gaps."""
    some = np.unique(
        np.linspace(0, len(layers) - 1, min(MOST_GRIDS, len(layers))).round().astype(int)
    )
    cells, told, found = (
        each.transpose("layer", "row", "column", ...).values[some] for each in parts
    )
    text = np.empty(cells.shape, dtype=object)
    for at, i, j in np.ndindex(cells.shape):
        lead = f"layer {plain(layers[some[at]])}<br>row {i}, column {j}<br>"
        text[at, i, j] = lead + told[at, i, j]
    planes = [_beside(cells, np.nan), _beside(text, ""), _beside(found, False)]
    _drawn(fig, row, planes, heat)
    wide = cells.shape[2]
    fig.update_xaxes(
        tickvals=[at * (wide + 1) + (wide - 1) / 2 for at in range(len(some))],
        ticktext=[f"layer {plain(layers[at])}" for at in some],
        showgrid=False,
        ticks="",
        constrain="domain",
        row=row,
        col=1,
    )
    fig.update_yaxes(
        title_text=f"image {image}",
        autorange="reversed",
        scaleanchor=f"x{row}",
        constrain="domain",
        showgrid=False,
        showticklabels=False,
        ticks="",
        row=row,
        col=1,
    )


def _beside(
    maps: Shaped[np.ndarray, "layer row column"], gap: float | str | bool
) -> Shaped[np.ndarray, "row across"]:
    """Small maps side by side, an empty column between two."""
    gapped = np.pad(maps, ((0, 0), (0, 0), (0, 1)), constant_values=gap)
    return gapped.transpose(1, 0, 2).reshape(maps.shape[1], -1)[:, :-1]


def _tall(grid: xr.DataArray) -> int:
    """The pixels that a row of small maps is high when they are as wide as the figure."""
    maps = min(MOST_GRIDS, grid.sizes["layer"])
    cell = WIDE / (maps * (grid.sizes["column"] + 1))
    return round(min(260, max(60, cell * grid.sizes["row"])))


def _word(token: str) -> str:
    return token.replace("\n", "⏎").strip() or ("∅" if not token else "␣")
