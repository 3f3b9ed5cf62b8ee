"""A feature's dashboard: where it is most active, in pictures and in words, and what it writes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from vlmlens.annotations import checked
from vlmlens.layout import EDGES
from vlmlens.palette import COLOURS
from vlmlens.plots.arrays import check_dims, check_variable
from vlmlens.plots.crops import around
from vlmlens.plots.picture import data_uri
from vlmlens.plots.theme import INK, TEMPLATE, plain
from vlmlens.sample import Sample

#: Crops in a row, and rows of them at most.
ACROSS, DOWN = 6, 2
#: Pixels of a crop's side.
SIDE = 160


@checked
def feature(
    samples: Sequence[Sample],
    regions: xr.Dataset,
    words: xr.Dataset | None = None,
    writes: xr.Dataset | None = None,
    *,
    title: str | None = None,
) -> go.Figure:
    """The regions where a feature is most active, as crops; its words, density and logits.

    Args:
        samples: those that were run, in order.
        regions: from ``probes.most_active(..., positions="vision")``; at most twelve are drawn.
        words: the same among words, ``positions="user"``.
        writes: from ``probes.direction_words``, of what the feature writes.
        title: by default the point and the feature's number.

    Raises:
        InputError: regions without boxes, or of samples that are not here.
        ImageError: a picture cannot be read.

    Examples:
        >>> sae = vl.interop.sae.load("shapes-base")
        >>> point = f"{sae.point}.hook_sae_acts_post"
        >>> with model.splice(sae.point, sae):
        ...     run = model.run(model.inputs(samples), save=point)
        >>> regions = vl.probes.most_active(run, point, 165)
        >>> writes = vl.probes.direction_words(model, sae.W_dec[165])
        >>> fig = vl.plots.feature(samples, regions, writes=writes)
        >>> len(fig.layout.images) == regions.sizes["rank"]
        True
    """
    check_variable(regions, "a feature", ("activation", "sample", "image", *EDGES))
    if words is not None:
        check_variable(words, "a feature's words", ("activation", "token"))
    if writes is not None:
        wanted = ("raises", "lowers", "raised", "lowered")
        check_variable(writes, "what a feature writes", wanted)
    check_dims(regions["activation"], "a feature", ("rank",))
    drawn = regions.isel(rank=slice(0, ACROSS * DOWN))
    rows = -(-max(drawn.sizes["rank"], 1) // ACROSS)
    panels = [("tokens by activation", _histogram(regions))]
    if words is not None:
        panels.append(("words", _bars(words["activation"].values, words["token"].values)))
    if writes is not None:
        panels.append(("what it writes, in logits", _written(writes)))
    span = ACROSS // len(panels)
    last: list[Any] = [None] * ACROSS
    last[::span] = [{"colspan": span}] * len(panels)
    titles = [_crop_title(drawn, at) for at in range(drawn.sizes["rank"])]
    titles += [""] * (rows * ACROSS - len(titles)) + [name for name, _ in panels]
    fig = make_subplots(
        rows=rows + 1,
        cols=ACROSS,
        specs=[[{}] * ACROSS] * rows + [last],
        subplot_titles=titles,
        row_heights=[1.0] * rows + [1.3],
        vertical_spacing=0.12 / rows,
        horizontal_spacing=0.02,
    )
    for at in range(rows * ACROSS):
        row, column = at // ACROSS + 1, at % ACROSS + 1
        hidden = {"visible": False, "row": row, "col": column}
        fig.update_xaxes(**hidden)
        fig.update_yaxes(**hidden)
        if at < drawn.sizes["rank"]:
            _crop(fig, samples, drawn.isel(rank=at), row, column)
    for at, (_, bars) in enumerate(panels):
        _panel(fig, bars, {"row": rows + 1, "col": at * span + 1})
    fig.update_annotations(font={"size": 12, "color": INK})
    share = float(regions["density"])
    own = f"{regions.attrs['point']}, feature {regions.attrs['feature']}"
    said = f"active at {share:.2%} of {int(regions['n']):,} tokens of the image"
    fig.update_layout(
        template=TEMPLATE,
        title_text=f"{plain(title or own)}<br><sub>{said}</sub>",
        showlegend=False,
        height=190 * rows + 320,
        margin_t=96,
    )
    return fig


def _panel(fig: go.Figure, bars: go.Bar, place: dict[str, Any]) -> None:
    """A histogram on a log scale, or bars with their words beside them."""
    fig.add_trace(bars, **place)
    if bars.orientation != "h":
        fig.update_yaxes(type="log", **place)
        fig.update_xaxes(title_text="activation", **place)
        return
    values: Any = bars.x
    low, high = float(min([0, *values])), float(max([0, *values]))
    room = 0.3 * (high - low) or 1.0  # for the words
    fig.update_xaxes(range=[low - room * (low < 0), high + room * (high > 0)], **place)
    fig.update_yaxes(autorange="reversed", visible=False, **place)


def _crop_title(regions: xr.Dataset, at: int) -> str:
    one = regions.isel(rank=at)
    return f"{float(one['activation']):.3g}, sample {int(one['sample'])}"


def _crop(
    fig: go.Figure, samples: Sequence[Sample], one: xr.Dataset, row: int, column: int
) -> None:
    """A region and what lies around it, outlined."""
    crop, (left, top, right, bottom) = around(samples, one, SIDE)
    at: Any = fig.get_subplot(row, column)
    place = {
        "xref": at.xaxis.plotly_name.replace("axis", ""),
        "yref": at.yaxis.plotly_name.replace("axis", ""),
    }
    fig.add_layout_image(
        source=data_uri(crop),
        x=0,
        y=0,
        sizex=SIDE,
        sizey=SIDE,
        sizing="stretch",
        layer="below",
        **place,
    )
    for colour, width in (("white", 5), (INK, 2)):  # seen on dark and on light
        fig.add_shape(
            type="rect",
            x0=left,
            x1=right,
            y0=top,
            y1=bottom,
            line={"color": colour, "width": width},
            **place,
        )
    fig.update_xaxes(range=[0, SIDE], constrain="domain", row=row, col=column)
    fig.update_yaxes(
        range=[SIDE, 0], scaleanchor=place["xref"], constrain="domain", row=row, col=column
    )


def _histogram(regions: xr.Dataset) -> go.Bar:
    above = regions["above"].values
    width = above[1] - above[0]
    return go.Bar(
        x=above + width / 2,
        y=regions["tokens"].values,
        width=width,
        marker_color=COLOURS[0],
        hovertemplate="from %{x:.3g}: %{y} tokens<extra></extra>",
    )


def _bars(values: Any, names: Any) -> go.Bar:
    at = list(range(len(values)))
    shown = [plain(repr(str(name))[1:-1]) for name in names]
    return go.Bar(
        x=values,
        y=at,
        text=shown,
        textposition="outside",
        textangle=0,
        textfont={"color": INK, "size": 12},
        cliponaxis=False,
        orientation="h",
        marker_color=[COLOURS[0] if value >= 0 else COLOURS[1] for value in values],
        hovertemplate="%{text}: %{x:.3g}<extra></extra>",
    )


def _written(writes: xr.Dataset) -> go.Bar:
    """What is raised most, then what is lowered most."""
    values = np.concatenate([writes["raises"].values, writes["lowers"].values[::-1]])
    names = np.concatenate([writes["raised"].values, writes["lowered"].values[::-1]])
    return _bars(values, names)
