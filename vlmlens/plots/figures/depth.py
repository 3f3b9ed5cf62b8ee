"""Curves along the layers of a model."""

from collections.abc import Iterator
from typing import Any

import plotly.graph_objects as go
import xarray as xr

from vlmlens.errors import InputError
from vlmlens.plots.arrays import (
    check_dims,
    check_labelled,
    entries,
    estimate,
    mean_interval,
    title_of,
)
from vlmlens.plots.theme import SYMBOLS, TEMPLATE, colour, faded, heading, log_axis, plain, ticks


def depth(
    values: xr.DataArray, *, by: str | None = None, title: str | None = None, log: bool = False
) -> go.Figure:
    """The mean at every layer, with its 95 % interval over samples as a band.

    Heads are averaged first, within a sample. Where the values carry ``depth_label``, a last
    point that has passed the final norm stands apart and hollow: the norm has rescaled it, so
    that it is not part of the curve.

    Args:
        values: ``layer`` or ``depth``; perhaps ``sample``, ``head`` and ``by``.
        by: a dimension to draw one curve for each entry of, such as ``role`` or ``model``.
        title: above the curves.
        log: whether the values stand on a logarithmic axis.

    Raises:
        InputError: neither or both of ``layer`` and ``depth``, or a dimension too many,
            or a value that a logarithmic axis has no place for.

    Examples:
        >>> run = model.run(model.inputs(samples), save=vl.probes.norms.NEEDS)
        >>> fig = vl.plots.depth(vl.probes.hidden_norms(run), by="role", log=True)
        >>> sorted({trace.name for trace in fig.data if "interval" not in trace.name})
        ['user', 'vision']
    """
    along = depth_dim(values, by)
    fig = go.Figure()
    for index, (name, part) in enumerate(_parts(values, by)):
        fig.add_traces(curve(part, along, name=name, index=index))
    fig.update_xaxes(**depth_axis(values, along))
    drawn: Any = fig.data
    fig.update_yaxes(title_text=title_of(values), **(log_axis(drawn) if log else {}))
    fig.update_layout(
        template=TEMPLATE,
        showlegend=by is not None,
        **heading(title, 16 + 28 * (by is not None)),
        height=360,
    )
    return fig


def depth_dim(values: xr.DataArray, by: str | None = None) -> str:
    """The dimension to draw along, once the others are known to be in order."""
    check_labelled(values, "a curve by depth", (xr.DataArray,))
    found = [dim for dim in ("layer", "depth") if dim in values.dims]
    if len(found) != 1:
        has = ", ".join(map(str, values.dims))
        raise InputError(f"curves run along either layer or depth; these values have ({has})")
    needed = found if by is None else [*found, by]
    check_dims(values, "a curve by depth", needed, optional=("sample", "head"))
    return found[0]


def curve(values: xr.DataArray, along: str, *, name: str, index: int = 0) -> list[go.Scatter]:
    """The traces of one curve: its band, its line, and a last point after the final norm."""
    if "head" in values.dims:
        values = values.mean("head")
    rows = mean_interval(values)
    places = _places(values, along)
    hover = [
        "<br>".join(filter(None, [plain(name), plain(place), estimate(rows.isel({along: i}))]))
        for i, place in enumerate(places)
    ]
    hue, last = colour(name, index), len(places) - 1
    solid = list(range(last if _ends_normalised(values) else last + 1))
    look = {
        "name": plain(name),
        "legendgroup": plain(name),
        "hoverinfo": "text",
        "marker": {"color": hue, "size": 6, "symbol": SYMBOLS[index % len(SYMBOLS)]},
    }
    mean, low, high = (rows[part].values for part in ("mean", "low", "high"))
    traces = [
        _band(solid, low[solid], high[solid], hue, plain(name)),
        go.Scatter(
            x=solid,
            y=mean[solid],
            mode="lines+markers",
            line={"color": hue, "width": 2},
            hovertext=hover[: len(solid)],
            **look,
        ),
    ]
    if len(solid) == last:
        apart = go.Scatter(
            x=[last],
            y=mean[[last]],
            mode="markers",
            showlegend=False,
            hovertext=[hover[last]],
            error_y={
                "array": high[[last]] - mean[[last]],
                "arrayminus": mean[[last]] - low[[last]],
                "color": hue,
                "thickness": 1.5,
                "width": 3,
            },
            **look,
        )
        apart.update(
            marker={
                "size": 8,
                "color": "white",
                "line": {"color": hue, "width": 2},
            }
        )
        traces.append(apart)
    return traces


def _band(x: list[int], low, high, hue: str, group: str) -> go.Scatter:
    """The outline of the intervals, there and back; a gap where there is none."""
    kept = [i for i in range(len(x)) if low[i] == low[i]]
    return go.Scatter(
        x=[x[i] for i in kept] + [x[i] for i in reversed(kept)],
        y=[high[i] for i in kept] + [low[i] for i in reversed(kept)],
        fill="toself",
        fillcolor=faded(hue, 0.18),
        line={"width": 0},
        mode="lines",
        name=f"{group}, 95 % interval".lstrip(", "),
        legendgroup=group,
        showlegend=False,
        hoverinfo="skip",
    )


def depth_axis(values: xr.DataArray, along: str) -> dict:
    """Settings of the axis of layers: whole numbers, and what stands at its two ends."""
    if "depth_label" not in values.coords:
        return {"title_text": along, **ticks(entries(values, along))}
    labels = _places(values, along)
    short = [label.removeprefix("after ").removeprefix("block ") for label in labels]
    return {"title_text": "after block", **ticks(short, most=10)}


def _places(values: xr.DataArray, along: str) -> list[str]:
    if "depth_label" in values.coords:
        return [str(label) for label in values["depth_label"].values]
    return [f"{along} {entry}" for entry in entries(values, along)]


def _ends_normalised(values: xr.DataArray) -> bool:
    return "depth_label" in values.coords and "final norm" in str(values["depth_label"].values[-1])


def _parts(values: xr.DataArray, by: str | None) -> Iterator[tuple[str, xr.DataArray]]:
    if by is None:
        yield "", values
        return
    for index, name in enumerate(entries(values, by)):
        part = values.isel({by: index}, drop=True)
        if part.notnull().any():
            yield name, part
