"""How every figure looks: one template, the colours of roles, scales, and text that stays text."""

import base64
from collections.abc import Iterable, Sequence
from textwrap import wrap
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.basedatatypes import BaseFigure
from plotly.colors import diverging, sample_colorscale, sequential

from vlmlens.annotations import checked
from vlmlens.errors import InputError
from vlmlens.palette import COLOURS, ROLE_COLOURS

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
INK, MUTED, GRID, EMPTY = "#1f2933", "#5f6b7a", "#e6e9ed", "#f1f3f5"

#: Curves differ by marker as well as by colour, for prints in grey.
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x")

#: Perceptually uniform: equal steps of value are equal steps to the eye.
SEQUENTIAL = sequential.Viridis

_AXIS = {
    "gridcolor": GRID,
    "linecolor": "#c3c9d1",
    "showline": True,
    "ticks": "outside",
    "ticklen": 4,
    "tickcolor": "#c3c9d1",
    "tickfont": {"color": MUTED, "size": 12},
    "title": {"font": {"size": 13, "color": INK}, "standoff": 8},
    "zeroline": False,
    "exponentformat": "power",
    "automargin": True,
}

TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": FONT, "size": 13, "color": INK},
        "title": {"x": 0, "xref": "paper", "xanchor": "left", "font": {"size": 15}},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "colorway": COLOURS,
        "margin": {"l": 16, "r": 16, "t": 56, "b": 16},
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "hoverlabel": {
            "bgcolor": "white",
            "bordercolor": "#c3c9d1",
            "align": "left",
            "font": {"family": FONT, "size": 12, "color": INK},
        },
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom"},
        "annotationdefaults": {"font": {"size": 13, "color": INK}},
    }
)

#: A narrow bar beside a map, its name reading along it.
COLOUR_BAR = {
    "thickness": 12,
    "outlinewidth": 0,
    "ticks": "outside",
    "ticklen": 3,
    "exponentformat": "power",
    "tickfont": {"size": 11, "color": MUTED},
}
#: Letters a line of its title: a bar is as high as its figure, and none is lower than so many.
TITLE_WIDTH = 26


def colour_bar(title: str) -> dict[str, Any]:
    """A bar of colours with its title beside it, in lines that are no longer than the bar."""
    text = "<br>".join(wrap(title, TITLE_WIDTH, break_long_words=False))
    return COLOUR_BAR | {"title": {"text": text, "side": "right"}}


#: What each colour of a light figure becomes on a dark ground.
ON_DARK = {
    INK: "#e6eaef",
    MUTED: "#a3afbc",
    GRID: "#2c343d",
    EMPTY: "#262e37",
    "#c3c9d1": "#4a5561",
    "#a9b1bb": "#6b7783",
    "#000000": "#ffffff",
    "#0072B2": "#4aa3e0",
    "#ffffff": "#14191f",
    "white": "#14191f",
}
#: Where figures keep words that data may have chosen; ``title`` has a text within.
LABELS = frozenset({"ticktext", "text", "hovertext", "name", "x", "y", "labels", "customdata"})


@checked
def dark(fig: BaseFigure) -> go.Figure:
    """The same figure, light on dark; the figure that was given stays as it is.

    Hues keep their meaning: roles and curves have the same colour, a little lighter where the
    ground asks for it, and maps of values keep their scale.

    Examples:
        >>> run = model.run(model.inputs([sample]), save=vl.probes.cmb.NEEDS)
        >>> light = vl.plots.heads(vl.probes.cross_modality_balance(run))
        >>> dark = vl.plots.dark(light)
        >>> dark.layout.template == light.layout.template  # the same figure, other colours
        False
    """
    return go.Figure(_on_dark(fig.to_plotly_json()))


def _on_dark(part: Any) -> Any:
    if isinstance(part, dict):
        if "bdata" in part:  # how plotly writes arrays down; left so, nobody could read them again
            flat = np.frombuffer(base64.b64decode(part["bdata"]), part["dtype"])
            return flat.reshape(
                [int(n) for n in part["shape"].split(",")] if "shape" in part else -1
            )
        return {k: v if _is_data(k, v) else _on_dark(v) for k, v in part.items()}
    if isinstance(part, list | tuple):
        return [_on_dark(each) for each in part]
    if not isinstance(part, str):
        return part
    for light, black in ON_DARK.items():
        if part == light:
            return black
        if light.startswith("#") and part.startswith(_channels(light)):
            return part.replace(_channels(light), _channels(black))
    return part


def _is_data(key: str, value: Any) -> bool:
    """Scales tell values, pictures are pictures, and a label that says "white" is no colour."""
    return key in ("colorscale", "images") or (key in LABELS and not isinstance(value, dict))


def plain(text: object) -> str:
    """Text that plotly shows as it is: labels are a little HTML, and data may hold anything."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def heading(title: str | None, room: int = 16) -> dict[str, Any]:
    """A figure's title and the room above its axes, in pixels; a new line of it is one there.

    Args:
        title: as it was given, or None.
        room: that is needed without a title, such as for a legend.
    """
    if not title:
        return {"margin_t": room}
    lines = plain(title).splitlines()
    return {"title_text": "<br>".join(lines), "margin_t": room + 32 + 22 * (len(lines) - 1)}


def colour(name: object, index: int) -> str:
    """The colour of a role, or the ``index``-th of the palette for any other name."""
    return ROLE_COLOURS.get(str(name), COLOURS[index % len(COLOURS)])


def _channels(hex_colour: str) -> str:
    return faded(hex_colour, 1.0).removesuffix("1.0)")


def faded(hex_colour: str, alpha: float) -> str:
    """A ``#rrggbb`` colour that lets ``1 - alpha`` of what is behind it through."""
    red, green, blue = bytes.fromhex(hex_colour[1:])
    return f"rgba({red},{green},{blue},{alpha})"


def diverging_scale(low: float, high: float, midpoint: float) -> list[tuple[float, Any]]:
    """Colours for ``low`` to ``high`` that are neutral at ``midpoint``.

    Equally far from the midpoint is equally strong on both sides, and the bar ends where the
    values do. Plotly's own ``zmid`` would stretch the bar to values that do not occur, such as
    negative ratios.
    """
    reach = max(abs(low - midpoint), abs(high - midpoint)) or 1.0
    steps = [step / 16 for step in range(17)]
    places = [0.5 + (low + (high - low) * step - midpoint) / (2 * reach) for step in steps]
    return list(zip(steps, sample_colorscale(diverging.balance, places), strict=True))


def veiled(colours: Sequence[str]) -> list[tuple[float, str]]:
    """A scale over a picture: its low end is clear, and it grows thicker to its high end."""
    steps = np.linspace(0, 1, 17).tolist()
    return list(zip(steps, _clear(sample_colorscale(list(colours), steps), steps), strict=True))


def veiled_around(low: float, high: float, midpoint: float) -> list[tuple[float, Any]]:
    """``diverging_scale`` over a picture: clear at the midpoint, thicker on both sides of it."""
    scale = diverging_scale(low, high, midpoint)
    reach = max(abs(low - midpoint), abs(high - midpoint)) or 1.0
    far = [abs(low + (high - low) * step - midpoint) / reach for step, _ in scale]
    colours = _clear([each for _, each in scale], far)
    return [(step, each) for (step, _), each in zip(scale, colours, strict=True)]


def _clear(colours: Sequence[Any], thickness: Sequence[float]) -> list[str]:
    """``rgb(...)`` colours that let the picture through, but for their thickness from 0 to 1."""
    return [
        f"rgba({each.removeprefix('rgb(').removesuffix(')')}, {thick:.3f})"
        for each, thick in zip(colours, thickness, strict=True)
    ]


def ticks(labels: Sequence[str], most: int = 12) -> dict:
    """Axis settings that name positions 0, 1, 2 ...: the first, the last, and at most ``most``."""
    last = len(labels) - 1
    steps = (few * 10**power for power in range(6) for few in (1, 2, 5))
    step = next(step for step in steps if step * most >= len(labels))
    shown = [place for place in range(0, last, step) if last - place >= step] + [last]
    return {"tickvals": shown, "ticktext": [plain(labels[place]) for place in shown]}


def log_axis(traces: Iterable[Any]) -> dict:
    """Settings of a logarithmic axis for these curves: 1, 2 and 5 of every decade, in one size.

    Plotly prints 2 and 5 in tiny type; over less than a decade its own ticks are good. The band
    of an interval that reaches 0 or below, as that of few lengths can, is cut off at a tenth of
    the lowest value.

    Raises:
        InputError: a value is 0 or negative, and so has no place on the axis.
    """
    traces = list(traces)
    curves = [trace for trace in traces if trace.fill is None]
    drawn = np.concatenate([np.empty(0), *(np.asarray(c.y, dtype=float) for c in curves)])
    drawn = drawn[np.isfinite(drawn)]
    for band in (trace for trace in traces if trace.fill is not None and drawn.size):
        band.y = np.maximum(np.asarray(band.y, dtype=float), drawn.min() / 10)
    axis: dict = {"type": "log"}
    if not drawn.size:
        return axis
    low, high = drawn.min(), drawn.max()
    if low <= 0:
        raise InputError(f"a logarithmic axis has no place for {low:.4g}: draw it with log=False")
    if 8 < high / low < 1e4:
        marks = [mark * 10.0**power for power in range(-12, 13) for mark in (1, 2, 5)]
        shown = [mark for mark in marks if low / 2 <= mark <= 2 * high]
        axis |= {"tickvals": shown, "ticktext": [f"{mark:g}" for mark in shown]}
    return axis
