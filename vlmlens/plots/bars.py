"""Intervals as bars, behind the dots of a figure."""

from collections.abc import Iterable

import plotly.graph_objects as go

from vlmlens.plots.theme import faded, plain


def interval_bars(
    ends: Iterable[tuple[float, float, float | int]], hue: str, name: str
) -> go.Scatter:
    """One trace of all bars.

    Args:
        ends: low, high and the place along y of every interval.
        hue: the colour of the dots; bars are fainter.
        name: what the dots are called in the legend, which shows and hides both.
    """
    ends = list(ends)
    return go.Scatter(  # three points an interval: its ends, and a gap before the next
        x=[x for low, high, _ in ends for x in (low, high, None)],
        y=[y for _, _, at in ends for y in (at, at, None)],
        mode="lines",
        line={"width": 9, "color": faded(hue, 0.22)},
        name=f"{plain(name)}, 95 % interval",
        legendgroup=name,
        showlegend=False,
        hoverinfo="skip",
    )
