"""A patching sweep: layers against tokens, the image's tokens folded onto their grid."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from jaxtyping import Float
from plotly.subplots import make_subplots

from vlmlens.errors import InputError
from vlmlens.plots.arrays import check_dims, entries, title_of
from vlmlens.plots.picture import folded
from vlmlens.plots.theme import (
    EMPTY,
    SEQUENTIAL,
    TEMPLATE,
    colour_bar,
    diverging_scale,
    heading,
    plain,
    ticks,
)

ALONG = ("token", "image", "row", "column")
#: Layers whose grids are drawn: evenly some, where there are more.
MOST_GRIDS = 8
#: Pixels between the maps, for the words under the upper one; and the width they are laid out for.
GAP, WIDE = 64, 720


def sweep(
    effect: xr.DataArray, *, title: str | None = None, midpoint: float | None = 0.0
) -> go.Figure:
    """Above, the effect of every layer and word; below, that of every image token, by layer.

    The words are the tokens as the model reads them, in their order. All tokens of an image share
    one column, coloured by the strongest of them, and are spread out below on the image's own
    grid, one small map a layer. Everything is in one scale.

    Args:
        effect: (layer, pos), or with ``sample``, which is averaged; along ``pos`` the
            coordinates ``token``, ``image``, ``row`` and ``column`` (-1 for words).
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
    check_dims(effect, "a sweep", ("layer", "pos"), optional=("sample",))
    if missing := [name for name in ALONG if name not in effect.coords]:
        raise InputError(f"a sweep needs the coordinates {', '.join(missing)} along pos")
    mean = effect.mean("sample", keep_attrs=True) if "sample" in effect.dims else effect
    mean = mean.transpose("layer", "pos", ...)
    images = sorted({int(image) for image in mean["image"].values if image >= 0})
    layers = entries(mean, "layer")
    grids = {image: folded(mean, image) for image in images}
    heights = [max(160, 20 * len(layers)), *(_tall(grid) for grid in grids.values())]
    height = sum(heights) + GAP * (len(heights) + 1)
    fig = make_subplots(
        rows=1 + len(images),
        row_heights=[float(each) for each in heights],
        vertical_spacing=GAP / height if images else 0.0,
    )
    columns, values, hover = _columns(mean, layers)
    heat = {"hoverinfo": "text", "hoverongaps": False, "coloraxis": "coloraxis"}
    fig.add_trace(go.Heatmap(z=values, hovertext=hover, xgap=1, ygap=1, **heat), row=1, col=1)
    names = {"tickvals": list(range(len(columns))), "ticktext": columns}
    fig.update_xaxes(showgrid=False, tickangle=-45, row=1, col=1, **names)
    shown = ticks(layers, most=16)
    fig.update_yaxes(title_text="layer", showgrid=False, row=1, col=1, **shown)
    for at, (image, grid) in enumerate(grids.items()):
        _grids(fig, grid, layers, row=2 + at, heat=heat, image=image)
    low, high = float(np.nanmin(mean.values)), float(np.nanmax(mean.values))
    scale = {"colorscale": SEQUENTIAL}
    if midpoint is not None:
        low, high = min(low, midpoint), max(high, midpoint)
        scale = {"colorscale": diverging_scale(low, high, midpoint), "cmin": low, "cmax": high}
    bar, top = colour_bar(title_of(effect)), heading(title)
    fig.update_layout(
        template=TEMPLATE,
        coloraxis=scale | {"colorbar": bar},
        plot_bgcolor=EMPTY,
        height=height + top["margin_t"] - 16,
        **top,
    )
    return fig


def _columns(
    mean: xr.DataArray, layers: list[str]
) -> tuple[list[str], Float[np.ndarray, "layer column"], list[list[str]]]:
    """The words and images in their order: names, values, and what pointing at them says."""
    image, tokens = mean["image"].values, mean["token"].values
    names, values, words = [], [], []
    for at, which in enumerate(image):
        if which >= 0 and which in image[:at]:
            continue
        here = mean.values[:, image == which] if which >= 0 else mean.values[:, [at]]
        strongest = np.abs(np.where(np.isnan(here), 0, here)).argmax(1)
        values.append(np.take_along_axis(here, strongest[:, None], 1)[:, 0])
        name = f"image {which}" if which >= 0 else _word(str(tokens[at]))
        names.append(plain(name))
        words.append(
            f"the strongest token of image {which}"
            if which >= 0
            else f"{tokens[at]!r}, position {at}"
        )
    hover = [
        [
            f"layer {plain(layer)}<br>{plain(word)}<br>{values[j][i]:.4g}"
            for j, word in enumerate(words)
        ]
        for i, layer in enumerate(layers)
    ]
    return names, np.stack(values, 1), hover


def _grids(
    fig: go.Figure, grid: xr.DataArray, layers: list[str], *, row: int, heat: dict, image: int
):
    """One small map of the image a layer, side by side, as one plane with gaps."""
    some = np.unique(
        np.linspace(0, len(layers) - 1, min(MOST_GRIDS, len(layers))).round().astype(int)
    )
    cells = grid.transpose("layer", "row", "column", ...).values[some]
    gapped = np.pad(cells, ((0, 0), (0, 0), (0, 1)), constant_values=np.nan)
    plane = gapped.transpose(1, 0, 2).reshape(cells.shape[1], -1)[:, :-1]
    text = np.full(gapped.shape, "", dtype=object)
    for (at, i, j), value in np.ndenumerate(cells):
        text[at, i, j] = f"layer {plain(layers[some[at]])}<br>row {i}, column {j}<br>{value:.4g}"
    hover = text.transpose(1, 0, 2).reshape(cells.shape[1], -1)[:, :-1]
    fig.add_trace(go.Heatmap(z=plane, hovertext=hover, **heat), row=row, col=1)
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


def _tall(grid: xr.DataArray) -> int:
    """The pixels that a row of small maps is high when they are as wide as the figure."""
    maps = min(MOST_GRIDS, grid.sizes["layer"])
    cell = WIDE / (maps * (grid.sizes["column"] + 1))
    return round(min(260, max(60, cell * grid.sizes["row"])))


def _word(token: str) -> str:
    return token.replace("\n", "⏎").strip() or ("∅" if not token else "␣")
