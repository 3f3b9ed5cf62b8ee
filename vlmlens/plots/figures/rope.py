"""RoPE sensitivity along the layers, of one model or several."""

from typing import Any

import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from vlmlens.plots.arrays import check_dims, check_variable, entries
from vlmlens.plots.figures.depth import curve, depth_axis
from vlmlens.plots.theme import TEMPLATE, heading

#: Variable -> what stands above its panel. The absolute value is taken before any mean.
PANELS = {
    "alpha_v": "attention on the image, α",
    "delta_g_v": "change of its scores, |Δg|",
    "delta_alpha_v": "change of the share, Δα",
}


def rope(table: xr.Dataset, *, by: str | None = None, title: str | None = None) -> go.Figure:
    """Three panels along the layers: alpha_V, |delta g_V| and delta alpha_V, means over heads.

    The absolute value of delta g_V is taken before the mean, as in the paper: opposite heads do
    not cancel, and noise does not average to 0. delta alpha_V is signed: above 0 the image gains.
    Bands are 95 % intervals over samples.

    Args:
        table: ``alpha_v``, ``delta_g_v`` and ``delta_alpha_v``, each (sample, layer, head), for
            one delta, as ``probes.rope_sensitivity`` returns.
        by: a dimension with one curve for each entry, such as ``model``.
        title: above the panels.

    Raises:
        InputError: a variable or dimension is missing, or there is one too many.

    Examples:
        >>> run = model.run(model.inputs(samples), save=vl.probes.rope.NEEDS)
        >>> fig = vl.plots.rope(vl.probes.rope_sensitivity(run))
        >>> [note.text for note in fig.layout.annotations]
        ['attention on the image, α', 'change of its scores, |Δg|', 'change of the share, Δα']
    """
    check_variable(table, "RoPE sensitivity", tuple(PANELS))
    needed = ("layer",) if by is None else ("layer", by)
    fig = make_subplots(cols=3, subplot_titles=list(PANELS.values()), horizontal_spacing=0.09)
    names = [""] if by is None else entries(table, by)
    for column, variable in enumerate(PANELS, start=1):
        values = table[variable]
        check_dims(values, "RoPE sensitivity", needed, optional=("sample", "head"))
        values = abs(values) if variable == "delta_g_v" else values
        for index, name in enumerate(names):
            part = values if by is None else values.isel({by: index}, drop=True)
            if part.notnull().any():
                fig.add_traces(curve(part, "layer", name=name, index=index), rows=1, cols=column)
    fig.update_traces(showlegend=False, col=2)
    fig.update_traces(showlegend=False, col=3)
    fig.add_hline(y=0, line={"dash": "dash", "width": 1}, opacity=0.5, row=1, col=3)  # pyright: ignore[reportArgumentType]
    fig.update_xaxes(**depth_axis(table["alpha_v"], "layer"))
    fig.update_yaxes(rangemode="tozero")
    shown: Any = {"y": 1.14} if by is not None else {}
    fig.update_layout(
        template=TEMPLATE,
        showlegend=by is not None,
        legend=shown,
        **heading(title, 44 + 32 * (by is not None)),
        height=360 + 32 * (by is not None),
    )
    return fig
