"""Intervals as bars, behind the dots of a figure; of long ones, an arrow where the axis ends."""

from collections.abc import Iterable

import numpy as np
import plotly.graph_objects as go

from vlmlens.plots.theme import faded, plain

Ends = Iterable[tuple[float, float, float | int]]


def interval_bars(ends: Ends, hue: str, name: str) -> go.Scatter:
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


def arrows(ends: Ends, room: tuple[float, float], hue: str, name: str) -> list[go.Scatter]:
    """A trace of arrows where intervals go on beyond the axis; none where all of them end on it.

    Args:
        ends: as of ``interval_bars``.
        room: where the axis begins and ends.
        hue: the colour of the dots.
        name: what the dots are called in the legend.
    """
    left, right = room
    beyond = [
        (edge, at, symbol, low, high)
        for low, high, at in ends
        for edge, symbol, on in ((left, "left", low < left), (right, "right", high > right))
        if on
    ]
    if not beyond:
        return []
    places = go.Scatter(
        x=[edge for edge, *_ in beyond],
        y=[at for _, at, *_ in beyond],
        mode="markers",
        marker={
            "symbol": [f"triangle-{symbol}" for _, _, symbol, *_ in beyond],
            "size": 10,
            "color": faded(hue, 0.6),
        },
        cliponaxis=False,
        name=f"{plain(name)}, 95 % interval goes on",
        legendgroup=name,
        showlegend=False,
        hovertext=[f"95 % interval [{low:.3g}, {high:.3g}]" for *_, low, high in beyond],
        hoverinfo="text",
    )
    return [places]


def room_for(
    values: Iterable[float],
    ends: Iterable[float],
    limits: tuple[float, float] = (-np.inf, np.inf),
    least: float = 1.0,
) -> tuple[float, float]:
    """Where an axis begins and ends, with some air.

    On it are 0, every estimate, and every interval as far as it lies within the limits: that of a
    few answers would else take all the room.

    Args:
        values: the estimates.
        ends: of the intervals.
        limits: beyond which an interval is cut.
        least: the air where all is 0.
    """
    within = [float(np.clip(end, *limits)) for end in ends]
    shown = [x for x in (0.0, *values, *within) if np.isfinite(x)]
    air = 0.05 * (max(shown) - min(shown)) or least
    return min(shown) - air, max(shown) + air
