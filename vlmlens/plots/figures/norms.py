"""How long the vectors of the residual stream are, by role and depth."""

from typing import Any

import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from vlmlens.errors import InputError
from vlmlens.plots.arrays import check_dims, entries
from vlmlens.plots.figures.depth import curve, depth_axis
from vlmlens.plots.theme import MUTED, TEMPLATE, heading, log_axis


def norms(hidden_norm: xr.DataArray, *, title: str | None = None) -> go.Figure:
    """Two panels along the depth: the norm by role, and how many times the user's is the image's.

    The ratio is taken within each sample and then averaged, so that samples with long vectors
    do not speak for the others. Bands are 95 % intervals of the mean over samples. Both
    axes are logarithmic: a ratio of 2 is as far from 1 as a ratio of 1/2.

    Args:
        hidden_norm: (depth, role) or (sample, depth, role), L2 norms; NaN where a sample has
            no such role.
        title: above both panels.

    Raises:
        InputError: a dimension is missing, or the role vision or user is.

    Examples:
        >>> run = model.run(model.inputs(samples), save=vl.probes.norms.NEEDS)
        >>> fig = vl.plots.norms(vl.probes.hidden_norms(run))
        >>> fig.layout.yaxis.type, fig.layout.yaxis2.type
        ('log', 'log')
    """
    check_dims(hidden_norm, "a figure of norms", ("depth", "role"), optional=("sample",))
    roles = entries(hidden_norm, "role")
    if not {"vision", "user"} <= set(roles):
        raise InputError(f"the ratio needs the roles vision and user; there are {', '.join(roles)}")
    fig = make_subplots(cols=2, horizontal_spacing=0.12)
    for index, role in enumerate(roles):
        part = hidden_norm.isel(role=index, drop=True)
        if part.notnull().any():
            fig.add_traces(curve(part, "depth", name=role, index=index), rows=1, cols=1)
    lines = curve(vision_user_ratio(hidden_norm), "depth", name="vision / user", index=6)
    fig.add_traces(lines, rows=1, cols=2)
    fig.update_traces(showlegend=False, col=2)
    fig.add_hline(y=1, line={"dash": "dash", "color": MUTED, "width": 1.2}, row=1, col=2)  # pyright: ignore[reportArgumentType]
    fig.update_xaxes(**depth_axis(hidden_norm, "depth"))
    for col, name in ((1, "L2 norm of the hidden state"), (2, "norm of vision / norm of user")):
        drawn: list[Any] = list(fig.select_traces(col=col))
        fig.update_yaxes(title_text=name, **log_axis(drawn), col=col)
    fig.update_layout(
        template=TEMPLATE,
        **heading(title, 44),
        height=380,
    )
    return fig


def vision_user_ratio(hidden_norm: xr.DataArray) -> xr.DataArray:
    """The norm of vision tokens over the user's, within each sample; NaN where either is absent."""
    vision = hidden_norm.sel(role="vision", drop=True)
    user = hidden_norm.sel(role="user", drop=True)
    return vision / user.where(user > 0)
