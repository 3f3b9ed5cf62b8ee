"""How values are spread: one violin a group, with its quartiles."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from jaxtyping import Float

from vlmlens.errors import InputError
from vlmlens.plots.arrays import check_labelled, title_of
from vlmlens.plots.theme import TEMPLATE, colour, faded, heading, plain

#: A violin is drawn from this many evenly spaced quantiles of its values.
QUANTILES = 500


def violins(
    values: xr.DataArray, *, by: str = "role", title: str | None = None, log: bool = True
) -> go.Figure:
    """The distribution of the values of every group: its shape, its quartiles and its ends.

    Token norms of image and text differ by factors, so the axis is logarithmic, and shapes are
    those of the logarithms: a violin keeps its area wherever it stands.

    Args:
        values: along one dimension, with the coordinate ``by``; or with ``by`` as a dimension,
            whatever the others (NaN is left out).
        by: what groups them, such as ``role`` or ``model``.
        title: above the violins.
        log: whether the values stand on a logarithmic axis.

    Raises:
        InputError: nothing of that name groups the values, or values that a logarithmic axis has
            no place for.

    Examples:
        >>> run = model.run(model.inputs(samples), save=vl.probes.embedding.NEEDS)
        >>> fig = vl.plots.violins(vl.probes.token_norms(run))
        >>> [trace.name for trace in fig.data if trace.name]
        ['bos', 'template', 'vision', 'user']
    """
    check_labelled(values, "violins", (xr.DataArray,))
    groups = _groups(values, by)
    lowest = min(group.min() for group in groups.values())
    if log and lowest <= 0:
        raise InputError(
            f"a logarithmic axis has no place for {lowest:.4g}: draw it with log=False"
        )
    fig = go.Figure()
    for index, (name, group) in enumerate(groups.items()):
        hue = colour(name, index)
        spread = np.quantile(group, np.linspace(0, 1, min(QUANTILES, len(group))))
        label = f"{plain(name)}<br>n = {len(group)}"
        fig.add_trace(
            go.Violin(
                y=np.log10(spread) if log else spread,
                x=[label] * len(spread),
                name=plain(name),
                line={"color": hue, "width": 1.5},
                fillcolor=faded(hue, 0.25),
                box={"visible": True, "width": 0.12},
                points=False,
                spanmode="hard",
                hoverinfo="skip",
            )
        )
        fig.add_trace(_quartiles(group, label, hue, log))
    fig.update_yaxes(title_text=title_of(values), **(_decades(groups) if log else {}))
    fig.update_xaxes(showgrid=False)
    fig.update_layout(
        template=TEMPLATE,
        showlegend=False,
        violingap=0.35,
        **heading(title),
        height=400,
    )
    return fig


def _groups(values: xr.DataArray, by: str) -> dict[str, Float[np.ndarray, " _value"]]:
    if by not in values.coords or (by not in values.dims and values.ndim != 1):
        raise InputError(
            f"violins need {by!r} as a dimension with names, or as a coordinate along the only "
            f"dimension; these values have {values.dims} and {', '.join(map(str, values.coords))}"
        )
    labels = values[by].values
    names = dict.fromkeys(str(label) for label in labels)
    found = {}
    for name in names:
        chosen = np.array([str(label) == name for label in labels])
        (along,) = values[by].dims
        group = values.isel({along: chosen}).values.astype(float).ravel()
        if np.isfinite(group).any():
            found[name] = group[np.isfinite(group)]
    if not found:
        raise InputError(f"no {by} has any value")
    return found


def _quartiles(group: Float[np.ndarray, " value"], label: str, hue: str, log: bool) -> go.Scatter:
    """One point at the median that tells the five numbers when pointed at."""
    low, q1, median, q3, high = np.quantile(group, [0, 0.25, 0.5, 0.75, 1])
    text = (
        f"{label}<br>median {median:.4g}<br>quartiles {q1:.4g} and {q3:.4g}"
        f"<br>from {low:.4g} to {high:.4g}"
    )
    return go.Scatter(
        x=[label],
        y=[np.log10(median) if log else median],
        mode="markers",
        marker={"color": "white", "size": 8, "line": {"color": hue, "width": 2}},
        hovertext=text,
        hoverinfo="text",
    )


def _decades(groups: dict[str, Float[np.ndarray, " _value"]]) -> dict:
    """Ticks at 1, 2 and 5 of every decade, placed at their logarithms; fewer over many decades."""
    low = min(group.min() for group in groups.values())
    high = max(group.max() for group in groups.values())
    few = (1, 2, 5) if high / low < 1e3 else (1,)
    marks = [few_ * 10.0**power for power in range(-12, 13) for few_ in few]
    shown = [mark for mark in marks if low / 2.5 <= mark <= 2.5 * high]
    return {"tickvals": np.log10(shown), "ticktext": [f"{mark:g}" for mark in shown]}
