"""How attention is divided: one bar, its parts, for one model or several."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from jaxtyping import Float

from vlmlens.errors import InputError
from vlmlens.plots.arrays import check_dims, entries, estimate, shown, summary
from vlmlens.plots.theme import TEMPLATE, colour, heading, plain


def shares(
    values: xr.DataArray | xr.Dataset, *, by: str | None = None, title: str | None = None
) -> go.Figure:
    """One bar an entry, cut into the shares of system prompt, image, user and the rest.

    Args:
        values: (``part`` or ``role``), fractions that sum to 1, perhaps with ``sample`` and
            ``by``; or a table of such means with ``low`` and ``high``.
        by: a dimension with one bar for each entry, such as ``model`` or ``layer``.
        title: above the bars.

    Raises:
        InputError: no part or role, a dimension too many, or shares that do not sum to 1.

    Examples:
        >>> run = model.run(model.inputs(samples), save=vl.probes.shares.NEEDS)
        >>> fig = vl.plots.shares(vl.probes.paper_shares(run).share)
        >>> [trace.name for trace in fig.data]
        ['vision', 'user']
    """
    array = shown(values)
    part = next((dim for dim in ("part", "role") if dim in array.dims), None)
    if part is None:
        raise InputError(f"shares run along part or role; these values have {array.dims}")
    needed = (part,) if by is None else (by, part)
    rows = summary(values, "shares")
    check_dims(array, "shares", needed, optional=("sample",))
    rows = rows.transpose(*needed)
    if by is None:
        rows = rows.expand_dims(bar=[""])
    bars, parts = entries(rows, by or "bar"), entries(rows, part)
    total = rows["mean"].sum(part, skipna=False).values
    if not np.allclose(total[np.isfinite(total)], 1, atol=1e-3):
        raise InputError(f"shares sum to 1; these sum to {np.round(total, 3).tolist()}")
    fig = go.Figure()
    for at, name in enumerate(parts):
        mean = 100 * rows["mean"].values[:, at]
        if not np.nanmax(mean) > 0:
            continue  # a role that no position plays
        hover = [
            [plain(bar), plain(name), estimate(rows.isel({by or "bar": i, part: at}))]
            for i, bar in enumerate(bars)
        ]
        fig.add_trace(_pieces(mean, plain(name), colour(name, at), hover))
    fig.update_xaxes(title_text="share of attention [%]", range=[0, 100.5])
    names = {"tickvals": list(range(len(bars))), "ticktext": [plain(bar) for bar in bars]}
    fig.update_yaxes(autorange="reversed", showgrid=False, ticks="", **names)
    if by == "layer":
        fig.update_yaxes(title_text="layer", autorange=True)
    fig.update_layout(
        template=TEMPLATE,
        barmode="stack",
        bargap=0.3,
        legend={"traceorder": "normal"},
        **heading(title, 48),
        height=130 + (44 if len(bars) < 8 else 24) * max(1, len(bars)),
    )
    return fig


def _pieces(
    mean: Float[np.ndarray, " bar"], name: str, fill: str, hover: list[list[str]]
) -> go.Bar:
    """One part of every bar, its number written where there is room."""
    return go.Bar(
        y=list(range(len(mean))),
        x=mean,
        orientation="h",
        name=name,
        marker={"color": fill, "line": {"color": "white", "width": 1}},
        text=[f"{value:.0f}" if value >= 4 else "" for value in mean],
        textposition="inside",
        insidetextanchor="middle",
        textangle=0,
        hovertext=["<br>".join(filter(None, lines)) for lines in hover],
        hoverinfo="text",
    )
