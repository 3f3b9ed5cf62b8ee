"""Curves along the steps of an answer, the words under them."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
import xarray as xr

from vlmlens.errors import InputError
from vlmlens.plots.arrays import check_dims, entries, title_of
from vlmlens.plots.figures.depth import curve
from vlmlens.plots.theme import TEMPLATE, heading, plain, ticks

#: Words that are all written out; of more, some.
MOST_WORDS = 40


def steps(
    values: xr.DataArray,
    words: Sequence[str] | None = None,
    *,
    by: str | None = None,
    title: str | None = None,
) -> go.Figure:
    """The mean at every step of an answer, and under each step the word that it said.

    A step's value is of the position that predicts its word. Layers and heads are averaged first,
    within a sample, but for the dimension of ``by``. Bands are 95 % intervals over samples; steps
    after a sample's end, which are NaN, count as absent.

    Args:
        values: ``step``; perhaps ``sample``, ``layer``, ``head`` and ``by``: what probes give
            with ``steps="each"``.
        words: what was said at each step, of one sample. By default the coordinate ``word`` along
            ``step``, where it is there, else the steps' numbers.
        by: a dimension to draw one curve for each entry of, such as ``layer`` or ``model``.
        title: above the curves.

    Raises:
        InputError: no ``step``, a dimension too many, words for several samples, or of another
            number of steps.

    Examples:
        >>> import xarray as xr
        >>> shares = xr.DataArray([[0.9, 0.4, 0.2]], dims=("sample", "step"), name="share")
        >>> fig = vl.plots.steps(shares, ["a", "red", "star"])
        >>> fig.layout.xaxis.ticktext, fig.data[-1].y.tolist()
        (('a', 'red', 'star'), [0.9, 0.4, 0.2])
    """
    needed = ("step",) if by is None else (by, "step")
    check_dims(values, "curves over steps", needed, optional=("sample", "layer", "head"))
    labels = _words(values, words)
    inner = [dim for dim in ("layer", "head") if dim in values.dims and dim != by]
    values = values.mean(inner, keep_attrs=True) if inner else values
    fig = go.Figure()
    names = [""] if by is None else entries(values, by)
    for at, name in enumerate(names):
        part = values if by is None else values.isel({by: at}, drop=True)
        part = part.assign_coords(step=range(part.sizes["step"]))
        lines = curve(part, "step", name=name if by != "layer" else f"layer {name}", index=at)
        fig.add_traces([_saying(line, labels) for line in lines])
    written = labels or entries(values, "step")
    axis = ticks(written, most=MOST_WORDS if labels else 12)
    if labels and len(labels) <= MOST_WORDS:
        axis = {"tickvals": list(range(len(labels))), "ticktext": [plain(w) for w in labels]}
    fig.update_xaxes(title_text="what is said" if labels else "step", **axis)
    fig.update_yaxes(title_text=title_of(values))
    fig.update_layout(
        template=TEMPLATE,
        showlegend=by is not None,
        **heading(title, 16 + 28 * (by is not None)),
        height=360,
    )
    return fig


def _words(values: xr.DataArray, words: Sequence[str] | None) -> list[str]:
    """A word for every step, or none at all."""
    if words is None:
        own = values.coords.get("word")
        return [] if own is None or own.dims != ("step",) else [str(word) for word in own.values]
    if values.sizes.get("sample", 1) > 1:
        raise InputError(
            f"words are one sample's, and these values have {values.sizes['sample']}: choose one "
            "with .isel(sample=[0]), or draw the means of all without words"
        )
    if len(words) != values.sizes["step"]:
        raise InputError(
            f"{len(words)} words for {values.sizes['step']} steps: pass one for each, "
            "such as the tokens that were generated"
        )
    return [str(word) for word in words]


def _saying(line: Any, labels: Sequence[str]) -> go.Scatter:
    """The same curve, which also tells the word where one points at it."""
    if labels and line.hovertext is not None:
        told = zip(line.x, line.hovertext, strict=True)
        line.hovertext = [f"{plain(labels[at])}<br>{text}" for at, text in told]
    return line
