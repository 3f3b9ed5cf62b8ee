"""Dose and response: what a measure does as an intervention is given more of."""

from collections.abc import Iterator

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from vlmlens.errors import InputError
from vlmlens.plots.arrays import check_dims, entries, estimate, shown, summary, title_of
from vlmlens.plots.theme import MUTED, SYMBOLS, TEMPLATE, colour, faded, heading, plain


def dose(
    values: xr.DataArray | xr.Dataset,
    *,
    by: str | None = None,
    title: str | None = None,
    reference: float | None = None,
    log: bool = False,
) -> go.Figure:
    """The mean at every dose and its 95 % interval, the doses where they stand as numbers.

    Args:
        values: (dose) or (sample, dose), perhaps with ``by``; or a table with ``mean``, ``low``
            and ``high`` over ``dose``, as ``probes.dose_response`` returns. The coordinate
            ``dose`` holds numbers: a shuffled share, a factor, a number of tokens.
        by: a dimension with one curve for each entry, such as ``model`` or ``category``.
        title: above the curves.
        reference: a level to compare with, such as the chance level.
        log: whether doses stand on a logarithmic axis, such as token counts.

    Raises:
        InputError: a dimension is missing or too many, or doses that are no numbers.

    Examples:
        >>> import xarray as xr
        >>> values = xr.DataArray(
        ...     [[1.0, 0.8, 0.6], [0.9, 0.7, 0.5]],
        ...     dims=("sample", "dose"),
        ...     coords={"dose": [0.0, 0.5, 1.0]},
        ... )
        >>> fig = vl.plots.dose(vl.probes.dose_response(values), reference=0.25)
        >>> fig.data[-1].x.tolist(), fig.layout.xaxis.title.text
        ([0.0, 0.5, 1.0], 'dose')
    """
    array = shown(values)
    needed = ("dose",) if by is None else (by, "dose")
    check_dims(array, "dose and response", needed, optional=("sample",))
    given = array["dose"].values
    if given.dtype.kind not in "iuf" or len(set(given.tolist())) < len(given):
        raise InputError(f"doses are numbers, each once; these are {given.tolist()}")
    if log and given.min() <= 0:
        raise InputError(f"a logarithmic axis has no place for a dose of {given.min():g}")
    rows = summary(values, "dose and response").sortby("dose")
    fig = go.Figure()
    for index, (name, part) in enumerate(_parts(rows, by)):
        fig.add_traces(_curve(part, name, index))
    if reference is not None:
        line = {"dash": "dash", "color": MUTED, "width": 1.2}
        fig.add_hline(y=reference, line=line)
    doses = rows["dose"].values
    axis = {"tickvals": doses, "ticktext": [f"{x:g}" for x in doses]} if len(doses) <= 12 else {}
    name = array["dose"].attrs.get("long_name", "dose")
    fig.update_xaxes(title_text=plain(name), type="log" if log else "linear", **axis)
    fig.update_yaxes(title_text=title_of(array))
    fig.update_layout(
        template=TEMPLATE,
        showlegend=by is not None,
        **heading(title, 16 + 28 * (by is not None)),
        height=380,
    )
    return fig


def _parts(rows: xr.Dataset, by: str | None) -> Iterator[tuple[str, xr.Dataset]]:
    if by is None:
        yield "", rows
        return
    for index, name in enumerate(entries(rows, by)):
        yield name, rows.isel({by: index}, drop=True)


def _curve(rows: xr.Dataset, name: str, index: int) -> list[go.Scatter]:
    x, mean = rows["dose"].values, rows["mean"].values
    low, high = rows["low"].values, rows["high"].values
    hue, known = colour(name, index), np.isfinite(low)
    hover = [
        "<br>".join(filter(None, [plain(name), f"dose {at:g}", estimate(rows.isel(dose=i))]))
        for i, at in enumerate(x)
    ]
    band = go.Scatter(
        x=np.concatenate([x[known], x[known][::-1]]),
        y=np.concatenate([high[known], low[known][::-1]]),
        fill="toself",
        fillcolor=faded(hue, 0.18),
        line={"width": 0},
        mode="lines",
        legendgroup=plain(name),
        showlegend=False,
        hoverinfo="skip",
    )
    line = go.Scatter(
        x=x,
        y=mean,
        mode="lines+markers",
        name=plain(name),
        legendgroup=plain(name),
        line={"color": hue, "width": 2},
        marker={"color": hue, "size": 8, "symbol": SYMBOLS[index % len(SYMBOLS)]},
        hovertext=hover,
        hoverinfo="text",
    )
    return [band, line]
