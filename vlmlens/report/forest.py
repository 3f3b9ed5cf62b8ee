"""Estimates with their intervals, a line each: what the page of an evaluation draws."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from vlmlens.plots.bars import arrows, interval_bars, room_for
from vlmlens.plots.theme import INK, MUTED, SYMBOLS, TEMPLATE, colour, plain

LONGEST = 24
#: Pixels a line takes, and one series more on it; of what stands above and below.
LINE, SERIES, AROUND = 34, 15, 118


@dataclass(frozen=True)
class Point:
    """One estimate.

    Attributes:
        line: which line it is on.
        series: whose it is: lines have a mark for each.
        value: the estimate.
        low: of its 95 % interval; NaN where there is none.
        high: of it.
        chance: what guessing gets there; NaN where that is not known.
        told: more, for pointing at it.
    """

    line: str
    series: str
    value: float
    low: float = np.nan
    high: float = np.nan
    chance: float = np.nan
    told: str = ""


def forest(
    points: Sequence[Point],
    axis: str,
    *,
    series: Sequence[str] = (),
    bounds: tuple[float, float] | None = None,
    limits: tuple[float, float] = (-np.inf, np.inf),
    zero: bool = False,
) -> go.Figure:
    """A dot for each estimate, a soft bar for its interval, a short line for the level of chance.

    Args:
        points: in the order of their lines, and of their series.
        axis: what is measured.
        series: all there are on the page, so that each has its colour in every figure; by default
            those of the points.
        bounds: of what is measured; by default room for every bar.
        limits: beyond which an arrow stands for the rest of a bar.
        zero: a line where there is no difference.

    Examples:
        >>> from vlmlens.report.forest import Point, forest
        >>> fig = forest([Point("clean", "shapes-base", 0.85, 0.8, 0.9)], "accuracy")
        >>> [trace.name for trace in fig.data]
        ['shapes-base, 95 % interval', 'shapes-base']
    """
    lines, drawn = (list(dict.fromkeys(getattr(p, n) for p in points)) for n in ("line", "series"))
    step = min(0.26, 0.8 / len(drawn))
    legend = len(series or drawn) > 1
    fig, room = go.Figure(), _room(points, bounds, limits)
    for number, name in enumerate(drawn):
        own = [point for point in points if point.series == name]
        shift = (number - (len(drawn) - 1) / 2) * step
        places = [lines.index(point.line) + shift for point in own]
        hue = list(series or drawn).index(name)
        fig.add_traces(_drawn(own, places, hue, room, several=legend))
    if any(point.chance == point.chance for point in points):
        legend = True
        fig.add_trace(_chance(points, lines))
    if zero:
        fig.add_vline(x=0, line={"dash": "dash", "color": MUTED, "width": 1.2})
    fig.update_yaxes(
        tickvals=list(range(len(lines))),
        ticktext=[plain(_shortened(line)) for line in lines],
        range=[len(lines) - 0.45, -0.55],
        tickfont_color=INK,
        showgrid=False,
        ticks="",
    )
    fig.update_xaxes(title_text=axis, range=list(room))
    height = AROUND + len(lines) * (LINE + SERIES * (len(drawn) - 1))
    fig.update_layout(template=TEMPLATE, height=height, margin_t=52 if legend else 16, margin_b=44)
    return fig


def _drawn(
    points: Sequence[Point],
    places: Sequence[float],
    number: int,
    room: tuple[float, float],
    *,
    several: bool,
) -> list[go.Scatter]:
    name, hue = points[0].series, colour("", number)
    known = [(p, at) for p, at in zip(points, places, strict=True) if p.low == p.low]
    ends = [(p.low, p.high, at) for p, at in known]
    bars, longer = interval_bars(ends, hue, name), arrows(ends, room, hue, name)
    dots = go.Scatter(
        x=[p.value for p in points],
        y=list(places),
        mode="markers",
        marker={"color": hue, "size": 10, "symbol": SYMBOLS[number % len(SYMBOLS)]},
        name=plain(name),
        legendgroup=name,
        showlegend=several,
        hovertext=[_hover(p) for p in points],
        hoverinfo="text",
    )
    return [bars, *longer, dots]


def _chance(points: Sequence[Point], lines: Sequence[str]) -> go.Scatter:
    levels = {(p.chance, lines.index(p.line)): None for p in points if p.chance == p.chance}
    return go.Scatter(
        x=[x for level, _ in levels for x in (level, level, None)],
        y=[y for _, at in levels for y in (at - 0.42, at + 0.42, None)],
        mode="lines",
        line={"color": MUTED, "width": 1.6, "dash": "dot"},
        name="chance level",
        showlegend=True,
        legendrank=2000,
        hovertext=[f"chance level: {x:.3f}" for x, _ in levels for _ in range(3)],
        hoverinfo="text",
    )


def _hover(point: Point) -> str:
    lines = [plain(point.line), plain(point.series), f"{point.value:.3f}"]
    if point.low == point.low:
        lines.append(f"95 % interval [{point.low:.3f}, {point.high:.3f}]")
    return "<br>".join([*lines, *([plain(point.told)] if point.told else [])])


def _room(
    points: Sequence[Point], bounds: tuple[float, float] | None, limits: tuple[float, float]
) -> tuple[float, float]:
    if bounds is not None:
        air = 0.02 * (bounds[1] - bounds[0])
        return bounds[0] - air, bounds[1] + air
    ends = [x for p in points for x in (p.low, p.high)]
    return room_for([p.value for p in points], ends, limits, least=0.1)


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
