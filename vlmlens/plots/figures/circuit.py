"""A circuit: blocks upward, places side by side, the image's regions as leaves."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from jaxtyping import Float

from vlmlens.ends import End, read_end, ways
from vlmlens.errors import InputError
from vlmlens.palette import COLOURS
from vlmlens.plots.arrays import check_dims, entries, estimate, shown, summary, title_of
from vlmlens.plots.graphs import Grid, bent
from vlmlens.plots.theme import GRID, INK, MUTED, TEMPLATE, heading, plain

#: What is read, by the colour of its edges.
READS = {"q": "queries", "k": "keys", "v": "values", "mlp": "MLPs", "attention": "attention"}
ENDS = {**READS, "logits": "logits"}
HUES = dict(zip(ENDS.values(), (*COLOURS[:5], COLOURS[6]), strict=True))
#: Widths of lines, from those of small edges to those of large ones.
WIDTHS = (1.0, 2.0, 3.5, 5.5)
#: How far queries, keys and values that go one way are apart.
APART = {"q": -0.02, "k": 0.0, "v": 0.02}


@dataclass(frozen=True)
class _Edge:
    """One edge to draw: its ends, its mean, and what is said of it."""

    writer: End
    reader: End
    value: float
    said: str

    @property
    def reads(self) -> str:
        return ENDS[self.reader.side or self.reader.kind]


def circuit(
    values: xr.DataArray | xr.Dataset, *, most: int | None = None, title: str | None = None
) -> go.Figure:
    """Every edge of a circuit as a line from what writes, below, to what reads, above.

    Places stand side by side, each with its heads in their order and its MLPs beside them; at the
    bottom is what comes in, the image's regions and the words. Colour says what reads an edge (a
    click on its name hides those), width how large it is, dashes that it works against the answer.
    Dotted lines are a head's own way from the place where it reads keys and values to the place
    where it writes. Pointing at the middle of a line shows its mean, the 95 % interval and n; at a
    node, what it hears and tells in all.

    Args:
        values: (sample, writer, reader) with NaN for what is not in the circuit, as
            ``Circuit.among`` makes it; a mean of it, or a table as ``map_test`` makes.
        most: draw so many edges alone, the largest.
        title: above the figure.

    Raises:
        InputError: a dimension is missing or is one too many, or there is no edge.

    Examples:
        >>> pairs = vl.datasets.counterfactual_pairs(2, kind="swap")
        >>> found = vl.experiments.edges(model, pairs, steps=0, progress=False)
        >>> chosen = vl.experiments.Circuit.top(found, 30)
        >>> fig = vl.plots.circuit(chosen.among(found))
        >>> sorted({trace.name for trace in fig.data if trace.showlegend})[:2]
        ['MLPs', 'keys']
    """
    cells = summary(values, "a circuit")
    check_dims(shown(values), "a circuit", ("writer", "reader"), optional=("sample",))
    edges = _edges(cells.transpose("writer", "reader"), title_of(shown(values)), most)
    grouped = int(shown(values).coords.get("grouped", 1))
    grid = Grid.of([end for edge in edges for end in (edge.writer, edge.reader)], grouped)
    fig = go.Figure()
    fig.add_traces(_ways(edges, grid))
    fig.add_traces(_lines(edges, grid))
    fig.add_traces(_nodes(edges, grid))
    rows, words = grid.rows()
    fig.update_xaxes(
        tickvals=list(range(len(grid.places))),
        ticktext=[plain(place) for place in grid.places],
        range=[-0.55, len(grid.places) - 0.45],
        showgrid=False,
        showline=False,
        ticks="",
    )
    fig.update_yaxes(tickvals=rows, ticktext=words, showgrid=False, showline=False, ticks="")
    for block in range(grid.blocks + 1):
        fig.add_hline(y=2 * block - 0.6, line={"color": GRID, "width": 1}, layer="below")
    fig.update_layout(
        template=TEMPLATE,
        **heading(title, 48),
        height=min(1400, max(420, 150 + 74 * (grid.blocks + 1))),
        hovermode="closest",
    )
    return fig


def _edges(cells: xr.Dataset, what: str, most: int | None) -> list[_Edge]:
    """Every edge that there is, the largest first."""
    mean = cells["mean"].values
    names = [entries(cells, dim) for dim in ("writer", "reader")]
    found = []
    for row, column in np.argwhere(np.isfinite(mean)):
        said = f"{what}: {estimate(cells.isel(writer=row, reader=column))}"
        writer, reader = read_end(names[0][row]), read_end(names[1][column])
        found.append(_Edge(writer, reader, float(mean[row, column]), said))
    if not found:
        raise InputError("there is no edge to draw: every value is NaN")
    return sorted(found, key=lambda edge: -abs(edge.value))[:most]


def _lines(edges: Sequence[_Edge], grid: Grid) -> list[go.Scatter]:
    """Lines by what is read, direction and width, and what is said of each at its middle."""
    largest = max(abs(edge.value) for edge in edges) or 1.0
    traces: list[go.Scatter] = []
    for reads in dict.fromkeys(ENDS.values()):
        own = [edge for edge in edges if edge.reads == reads]
        if not own:
            continue
        look = {"name": reads, "legendgroup": reads, "showlegend": False}
        hue = HUES[reads]
        traces.append(go.Scatter(x=[None], y=[None], mode="lines", line={"color": hue, "width": 3},
                                 **look | {"showlegend": True}))  # fmt: skip
        for width, works in product(range(len(WIDTHS)), (True, False)):
            some = [
                edge
                for edge in own
                if min(3, int(4 * abs(edge.value) / largest)) == width
                and (edge.value >= 0) == works
            ]
            if some:
                paths = [_path(edge, grid) for edge in some]
                line = {"color": hue, "width": WIDTHS[width], "dash": "solid" if works else "dash"}
                traces.append(_trace(paths, line, 0.75, look))
        middle = [_path(edge, grid) for edge in own]
        traces.append(
            go.Scatter(
                x=[x[8] for x, _ in middle],
                y=[y[8] for _, y in middle],
                mode="markers",
                marker={"size": 9, "color": hue, "opacity": 0},
                hovertext=[
                    f"{plain(e.writer.label)} to {plain(e.reader.label)}<br>{e.said}" for e in own
                ],
                hoverinfo="text",
                **look,
            )
        )
    return traces


def _path(
    edge: _Edge, grid: Grid
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
    """From writer to reader; what a head reads in three ways arrives at three spots."""
    x, y = grid.at(edge.reader)
    return bent(grid.at(edge.writer), (x + APART.get(edge.reader.side, 0.0), y))


def _trace(
    paths: Iterable[tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]],
    line: dict,
    opacity: float,
    look: dict,
) -> go.Scatter:
    """Several lines in one trace, with gaps between them."""
    gap = np.array([np.nan])
    ends = [(np.append(x, gap), np.append(y, gap)) for x, y in paths]
    x, y = (np.concatenate(each) for each in zip(*ends, strict=True))
    return go.Scatter(
        x=x, y=y, mode="lines", line=line, opacity=opacity, hoverinfo="skip", **look
    )  # fmt: skip


def _ways(edges: Sequence[_Edge], grid: Grid) -> list[go.Scatter]:
    """Dotted lines where heads carry something from place to place."""
    found = ways([(edge.writer, edge.reader) for edge in edges], grid.grouped)
    if not found:
        return []
    paths = []
    for into, out in found:
        (x0, y0), (x1, y1) = grid.at(into), grid.at(out)
        t = np.linspace(0, 1, 17)
        paths.append((x0 + (x1 - x0) * t, y0 + (y1 - y0) * t + 0.35 * np.sin(np.pi * t)))
    look = {"name": "within a head", "legendgroup": "ways", "showlegend": True}
    return [_trace(paths, {"color": MUTED, "width": 1.5, "dash": "dot"}, 0.8, look)]


def _nodes(edges: Sequence[_Edge], grid: Grid) -> list[go.Scatter]:
    """A mark for every node, with its name, and what it hears and tells in all."""
    ends: dict[str, End] = {}
    hears: dict[str, list[float]] = {}
    tells: dict[str, list[float]] = {}
    for edge in edges:
        for end, sums in ((edge.writer, tells), (edge.reader, hears)):
            name = end.node(grid.grouped)
            ends.setdefault(name, end)
            sums.setdefault(name, []).append(edge.value)
    places = [grid.at(end) for end in ends.values()]
    leaves = {"image": COLOURS[0], "text": COLOURS[1], "deepstack": COLOURS[0]}
    said = []
    for name in ends:
        sums = (("hears", hears.get(name)), ("tells", tells.get(name)))
        said.append(
            "<br>".join(
                [plain(name), *(f"{w} {len(own)} edges: {sum(own):.4g}" for w, own in sums if own)]
            )
        )
    room = 24 if grid.heads <= 12 else 10
    small = [_short(name, end) if room > 12 or end.kind != "head" else ""
             for name, end in ends.items()]  # fmt: skip
    return [
        go.Scatter(
            x=[x for x, _ in places],
            y=[y for _, y in places],
            mode="markers+text",
            marker={
                "size": [room + 10 * (end.kind != "head") for end in ends.values()],
                "opacity": 1.0,
                "symbol": ["circle" if end.kind == "head" else "square" for end in ends.values()],
                "color": "white",
                "line": {
                    "width": 1.5,
                    "color": [leaves.get(end.kind, INK) for end in ends.values()],
                },
            },
            text=small,
            textfont={"size": 10, "color": INK},
            textposition="middle center",
            hovertext=said,
            hoverinfo="text",
            showlegend=False,
        )
    ]


def _short(name: str, end: End) -> str:
    """What stands in a node's mark."""
    bare = name.partition("@")[0]
    if end.kind == "head":
        return bare[bare.index("H" if "H" in bare else "K") :]
    return {"mlp": "MLP", "attention": "attn", "logits": "logits", "deepstack": "deep"}.get(
        end.kind, end.kind
    )
