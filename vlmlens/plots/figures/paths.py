"""A map of paths: who sends, who receives."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from vlmlens.plots.arrays import check_dims, entries, shown, summary, title_of
from vlmlens.plots.cells import above, colour_axis, coloured
from vlmlens.plots.theme import EMPTY, TEMPLATE, ticks


def paths(
    values: xr.DataArray | xr.Dataset, *, most: int | None = None, title: str | None = None
) -> go.Figure:
    """One coloured cell for every path, from the sender at the left to the receiver below.

    A cell is the mean over samples, 0 being neutral; pointing at it shows the mean's 95 % interval
    and n. Cells stay grey where a sender comes after the receiver. Where the table has
    ``p_corrected``, cells below 0.05 carry a dot.

    Args:
        values: (sender, receiver) or (sample, sender, receiver), as ``experiments.path_patch``
            returns; or a table of it, as ``map_test`` makes.
        most: show so many senders and so many receivers alone, those with the largest mean in
            either direction; their order stays as it is.
        title: above the map.

    Raises:
        InputError: a dimension is missing, or there is one more than the map has room for.

    Examples:
        >>> pair = vl.datasets.counterfactual_pairs(1, kind="swap")[0]
        >>> effect = vl.experiments.path_patch(
        ...     model, pair.clean, pair.corrupted, ["embed", "L1H*"], ["M1", "logits"],
        ...     progress=False,
        ... )
        >>> fig = vl.plots.paths(effect)
        >>> fig.layout.xaxis.ticktext, fig.layout.yaxis.ticktext[:2]
        (('M1', 'logits'), ('embed', 'L1H0'))
    """
    needed = ("sender", "receiver")
    cells = summary(values, "a map of paths")
    check_dims(shown(values), "a map of paths", needed, optional=("sample",))
    cells = cells.transpose(*needed)
    if most is not None:
        size = np.abs(np.nan_to_num(cells["mean"].values))
        for axis, dim in enumerate(needed):
            best = np.argsort(-size.max(1 - axis), kind="stable")[:most]
            cells = cells.isel({dim: np.sort(best)})
            size = np.take(size, np.sort(best), axis)
    fig = go.Figure(coloured(cells, "receiver", "sender"))
    across, up = entries(cells, "receiver"), entries(cells, "sender")
    fig.update_xaxes(title_text="receiver", showgrid=False, **ticks(across, most=30))
    fig.update_yaxes(title_text="sender", showgrid=False, **ticks(up, most=30))
    fig.update_layout(
        template=TEMPLATE,
        coloraxis=colour_axis(cells["mean"].values, 0.0, title_of(shown(values))),
        plot_bgcolor=EMPTY,
        **above(fig, title),
        height=min(720, max(300, 120 + 20 * len(up))),
    )
    return fig
