"""A forest plot of accuracies and of the Position Sensitivity Index."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from vlmlens.plots.arrays import check_dims, check_variable, entries, percent
from vlmlens.plots.bars import arrows, interval_bars, room_for
from vlmlens.plots.theme import COLOURS, INK, MUTED, SYMBOLS, TEMPLATE, heading, plain

LONGEST_NAME = 28
#: Per cent: what an interval of the index is drawn within. It has no lower end, and that of a few
#: answers would leave no room for the others.
LIMITS = (-100.0, 100.0)
#: What each mark is: its name, its symbol, its colour.
MARKS = {
    "accuracy": ("original order", "circle", COLOURS[0]),
    "accuracy_permuted": ("shuffled vision tokens", "diamond", COLOURS[1]),
    "psi": ("PSI", "square", INK),
}
#: The same where answers are held against the model's own: intact, they agree by construction.
KEPT = {
    "accuracy_permuted": ("answers kept when shuffled", "diamond", COLOURS[1]),
    "psi": ("answers changed", "square", INK),
}


def psi(table: xr.Dataset, *, by: str | None = None, title: str | None = None) -> go.Figure:
    """One row for each category: both accuracies on the left, the index on the right.

    A dot is the estimate, the soft bar behind it its 95 % interval, and a short vertical line
    the chance level. A PSI of 0 means that the order of the vision tokens does not
    matter, 100 that shuffling them leaves no answer right; below 0, shuffling helps. An interval
    of it that goes on below -100 or above 100 ends in an arrow. Of a table
    whose attribute ``reference`` is ``"own"`` (answers held against the model's own) the left
    shows the share of answers that shuffling keeps, and the right the share that it changes.
    With ``by``, a row has a line for each model: full in order, hollow shuffled.

    Args:
        table: along ``category``, the variables ``accuracy``, ``accuracy_permuted`` and ``psi``,
            each with ``_low`` and ``_high`` where there is an interval; perhaps ``chance``,
            ``n`` and ``p_value``. Fractions or per cent, as their ``units`` say.
        by: a dimension of the table with a colour for each entry, such as ``model``:
            ``xr.concat([first, second], "model").assign_coords(model=["a", "b"])``.
        title: above both panels.

    Raises:
        InputError: a variable or the dimension is missing.

    Examples:
        >>> import xarray as xr
        >>> correct = xr.DataArray(
        ...     [[1, 0], [1, 1], [1, 0], [1, 1]],
        ...     dims=("sample", "permutation"),
        ...     coords={"permutation": ["original", "shuffle 0"]},
        ... )
        >>> fig = vl.plots.psi(vl.probes.position_sensitivity_index(correct))
        >>> fig.data[-1].name, fig.data[-1].x.tolist()  # half of the answers are lost
        ('PSI', [50.0])
    """
    check_variable(table, "a forest plot", tuple(MARKS))
    for name in MARKS:
        check_dims(table[name], "a forest plot", ("category",) if by is None else (by, "category"))
    own = table.attrs.get("reference") == "own"
    names = entries(table, "category")
    rows = _rows(table, by, KEPT if own else MARKS)
    ends = [each["psi"].room() for each in rows]
    room = min(low for low, _ in ends), max(high for _, high in ends)
    fig = make_subplots(cols=2, shared_yaxes=True, horizontal_spacing=0.06, column_widths=[3, 2])
    for number, points in enumerate(rows):
        if not own:
            fig.add_trace(_joint(points), row=1, col=1)
            if "chance" in table:
                fig.add_trace(_chance(points["accuracy"], number == 0), row=1, col=1)
        for name, each in points.items():
            fig.add_traces(each.traces(names, room), rows=1, cols=2 if name == "psi" else 1)
    fig.add_vline(x=0, line={"dash": "dash", "color": MUTED, "width": 1.2}, row=1, col=2)  # pyright: ignore[reportArgumentType]
    fig.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=[plain(_shortened(name)) for name in names],
        range=[len(names) - 0.4, -0.6],
        tickfont_color=INK,
        showgrid=False,
        ticks="",
    )
    left, right = (f"{name} [%]" for name in ("answers kept", "answers changed"))
    fig.update_xaxes(title_text=left if own else "accuracy [%]", range=[-2, 102], col=1)
    fig.update_xaxes(title_text=right if own else "PSI [%]", range=list(room), col=2)
    fig.update_layout(
        template=TEMPLATE,
        **heading(title, 44),
        height=110 + (44 + 18 * (len(rows) - 1)) * max(2, len(names)),
    )
    return fig


def _rows(
    table: xr.Dataset, by: str | None, marks: dict[str, tuple[str, str, str]]
) -> list[dict[str, "_Points"]]:
    """The quantities of the table; with ``by``, of each entry, a little above one another."""
    if by is None:
        return [{name: _Points(table, name, mark) for name, mark in marks.items()}]
    labels, found = entries(table, by), []
    step = min(0.26, 0.8 / len(labels))
    for at, label in enumerate(labels):
        part, shift = table.isel({by: at}, drop=True), (at - (len(labels) - 1) / 2) * step
        symbol, hue = SYMBOLS[at % len(SYMBOLS)], COLOURS[at % len(COLOURS)]
        said = {"accuracy": label, "accuracy_permuted": f"{label}, shuffled", "psi": label}
        hollow = {"accuracy_permuted": f"{symbol}-open"}
        looks = {name: (said[name], hollow.get(name, symbol), hue) for name in marks}
        found.append({name: _Points(part, name, look, shift) for name, look in looks.items()})
    return found


class _Points:
    """One quantity of the table in per cent, and the dots and bars that show it."""

    def __init__(
        self, table: xr.Dataset, name: str, mark: tuple[str, str, str], shift: float = 0.0
    ):
        units = table[name].attrs.get("units", "percent" if name == "psi" else None)
        ends = {end: table.get(f"{name}_{end}") for end in ("low", "high")}
        gap = xr.full_like(table[name], np.nan, dtype=float)
        self.name, self.table, self.mark, self.shift = name, table, mark, shift
        self.value = percent(table[name], units).values
        self.places = [row + shift if shift else row for row in range(len(self.value))]
        self.low, self.high = (
            percent(gap if found is None else found, units).values for found in ends.values()
        )

    def traces(self, names: list[str], room: tuple[float, float]) -> list[go.Scatter]:
        label, symbol, hue = self.mark
        known = [row for row in range(len(names)) if not np.isnan(self.low[row])]
        ends = [(self.low[row], self.high[row], self.places[row]) for row in known]
        bars = interval_bars(ends, hue, label)
        longer = arrows(ends, room, hue, label) if self.name == "psi" else []
        dots = go.Scatter(
            x=self.value,
            y=self.places,
            mode="markers",
            marker={"color": hue, "size": 10, "symbol": symbol},
            name=plain(label),
            legendgroup=label,
            showlegend=self.name != "psi",
            hovertext=[self._hover(row, name) for row, name in enumerate(names)],
            hoverinfo="text",
        )
        return [bars, *longer, dots]

    def room(self) -> tuple[float, float]:
        """Where the axis of the index begins and ends."""
        return room_for(self.value, [*self.low, *self.high], LIMITS)

    def _hover(self, row: int, category: str) -> str:
        lines = [plain(category), f"{plain(self.mark[0])}: {self.value[row]:.1f} %"]
        if not np.isnan(self.low[row]):
            lines.append(f"95 % interval [{self.low[row]:.1f}, {self.high[row]:.1f}]")
        for extra, shown in (("n", "n = {:.0f}"), ("p_value", "p = {:.3g}")):
            if extra in self.table and np.isfinite(self.table[extra].values[row]):
                lines.append(shown.format(self.table[extra].values[row]))
        return "<br>".join(lines)


def _joint(points: dict[str, _Points]) -> go.Scatter:
    pairs = zip(points["accuracy"].value, points["accuracy_permuted"].value, strict=True)
    both = list(zip(points["accuracy"].places, *zip(*pairs, strict=True), strict=True))
    return go.Scatter(
        x=[x for _, left, right in both for x in (left, right, None)],
        y=[y for row, _, _ in both for y in (row, row, None)],
        mode="lines",
        line={"color": "#a9b1bb", "width": 2},
        name="change",
        showlegend=False,
        hoverinfo="skip",
    )


def _chance(points: _Points, listed: bool) -> go.Scatter:
    table = points.table
    chance = percent(table["chance"], table["accuracy"].attrs.get("units")).values
    return go.Scatter(
        x=chance,
        y=points.places,
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 16, "color": MUTED, "line": {"width": 2}},
        name="chance level",
        legendgroup="chance level",
        showlegend=listed,
        legendrank=2000,
        hovertext=[f"chance level: {value:.1f} %" for value in chance],
        hoverinfo="text",
    )


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
