"""A map of layers and heads."""

import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from vlmlens.errors import InputError
from vlmlens.plots.arrays import check_dims, entries, shown, summary, title_of
from vlmlens.plots.cells import above, colour_axis, coloured, logarithms, neutral
from vlmlens.plots.theme import EMPTY, TEMPLATE, plain, ticks


def heads(
    values: xr.DataArray | xr.Dataset,
    *,
    by: str | None = None,
    title: str | None = None,
    midpoint: float | None = None,
    log: bool = False,
) -> go.Figure:
    """One coloured cell for every head of every layer, the layer nearest the input at the bottom.

    A cell is the mean over samples; pointing at it shows the mean's 95 % interval and n.
    The intervals are each cell's own: over a whole map some exclude a value by chance. Where
    the table has ``p_corrected``, which allows for that, cells below 0.05 carry a dot.

    Args:
        values: (layer, head) or (sample, layer, head); or a table with ``mean``, ``low``,
            ``high`` and ``p_corrected``, as ``map_test`` returns. NaN cells stay grey.
        by: a dimension with one map for each entry, such as ``model``, all in one scale.
        title: above the map.
        midpoint: a value to be neutral, with two hues around it, such as 0 for a change or 1
            for a ratio. By default the attribute ``midpoint`` of the values, what a table of
            tests was tested against (``null``), or 0 where means lie on both sides of it; else,
            and with NaN, the scale has one direction.
        log: whether the scale is logarithmic, as for ratios of many sizes; means of 0 and below
            stay grey.

    Raises:
        InputError: a dimension is missing, or there is one more than the map has room for; a
            logarithmic scale around 0 or below.

    Examples:
        >>> run = model.run(model.inputs(samples), save=vl.probes.cmb.NEEDS)
        >>> fig = vl.plots.heads(vl.probes.cross_modality_balance(run))
        >>> fig.layout.xaxis.title.text, fig.layout.yaxis.title.text
        ('head', 'layer (0 is nearest the input)')
        >>> fig.data[0].z.shape
        (4, 4)
    """
    needed = ("layer", "head") if by is None else (by, "layer", "head")
    cells = summary(values, "a map of heads")
    check_dims(shown(values), "a map of heads", needed, optional=("sample",))
    middle = neutral(values, midpoint)
    if log and middle is not None and middle <= 0:
        raise InputError(f"a logarithmic scale has no place for a midpoint of {middle:g}")
    cells = cells.transpose(*needed)
    parts = [("", cells)]
    if by is not None:
        names = entries(cells, by)
        parts = [(name, cells.isel({by: at}, drop=True)) for at, name in enumerate(names)]
    titles = [plain(name) for name, _ in parts] if by is not None else None
    fig = make_subplots(
        cols=len(parts), subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.04
    )
    listed = True
    for at, (name, part) in enumerate(parts):
        traces = coloured(part, "head", "layer", name, log=log, listed=listed)
        listed = listed and not any(trace.showlegend for trace in traces)
        fig.add_traces(traces, rows=1, cols=at + 1)
    layers, columns = entries(cells, "layer"), entries(cells, "head")
    most = 12 if len(parts) == 1 else 6
    fig.update_xaxes(title_text="head", showgrid=False, **ticks(columns, most=most))
    fig.update_yaxes(showgrid=False, **ticks(layers, most=20))
    fig.update_yaxes(title_text="layer (0 is nearest the input)", col=1)
    tall = min(640, max(300, 120 + 20 * len(layers)))
    means = logarithms(cells["mean"].values) if log else cells["mean"].values
    fig.update_layout(
        template=TEMPLATE,
        coloraxis=colour_axis(means, middle, title_of(shown(values)), log=log),
        plot_bgcolor=EMPTY,
        **above(fig, title, 16 + 28 * (by is not None), tall - 100),
        height=tall,
    )
    return fig
