import numpy as np
import pytest
import xarray as xr

from vlmlens import plots
from vlmlens.errors import InputError

WRITERS = ["image@left", "image@right", "L0H1@last", "M0@last"]
READERS = ["L0H0.k@left", "L0H0.v@left", "M0@last", "L1H2.q@last", "logits"]
VALUES = np.full((2, 4, 5), np.nan)
VALUES[:, 0, 0] = 4.0, 6.0
VALUES[:, 0, 1] = 0.5, 0.7
VALUES[:, 2, 2] = -1.0, -3.0
VALUES[:, 3, 4] = 1.0, 1.0
CHOSEN = xr.DataArray(
    VALUES,
    dims=("sample", "writer", "reader"),
    coords={"writer": WRITERS, "reader": READERS, "grouped": 2},
    attrs={"long_name": "effect", "units": "logits"},
)


def lines(fig, name):
    return [t for t in fig.data if t.name == name and t.mode == "lines" and t.x[0] is not None]


def marks(fig):
    """Node -> where it stands."""
    (nodes,) = [trace for trace in fig.data if trace.mode == "markers+text"]
    names = [said.partition("<br>")[0] for said in nodes.hovertext]
    return dict(zip(names, zip(nodes.x, nodes.y, strict=True), strict=True)), nodes


def test_an_edge_is_a_line_from_what_writes_up_to_what_reads():
    fig = plots.circuit(CHOSEN)
    where, _ = marks(fig)
    (key,) = lines(fig, "keys")
    start, stop = where["image@left"], where["L0KV0@left"]
    assert (key.x[0], key.y[0]) == pytest.approx(start)
    assert key.y[16] == pytest.approx(stop[1]) and key.x[16] == pytest.approx(stop[0])
    assert np.isnan(key.x[17])
    heights = [where[name][1] for name in ("image@left", "L0H1@last", "M0@last", "logits")]
    assert heights == sorted(heights) and len(set(heights)) == 4
    drawn = sum(
        int(np.isnan(t.x).sum())
        for n in ("keys", "values", "MLPs", "logits")
        for t in lines(fig, n)
    )
    assert drawn == int(np.isfinite(VALUES[0]).sum())


def test_width_is_size_dashes_are_against_and_colour_is_what_reads():
    fig = plots.circuit(CHOSEN)
    key, value, mlp = (lines(fig, name)[0].line for name in ("keys", "values", "MLPs"))
    assert key.width > mlp.width > value.width
    assert (key.dash, value.dash, mlp.dash) == ("solid", "solid", "dash")
    assert len({key.color, value.color, mlp.color}) == 3
    shown = [trace.name for trace in fig.data if trace.showlegend]
    assert shown == ["within a head", "keys", "values", "MLPs", "logits"]


def test_places_with_the_images_leaves_come_first_and_the_answers_last():
    fig = plots.circuit(CHOSEN)
    assert fig.layout.xaxis.ticktext == ("left", "last")  # no edge is at the right
    where, nodes = marks(fig)
    assert where["image@left"][0] < 0.5 < where["M0@last"][0]
    assert set(where) == {
        "image@left", "L0KV0@left", "L0H1@last", "M0@last", "logits",
    }  # fmt: skip
    assert nodes.text == ("image", "KV0", "H1", "MLP", "logits")


def test_a_head_carries_what_it_reads_to_where_it_writes():
    """Key-value head 0 is that of query heads 0 and 1, of which head 1 writes."""
    where, _ = marks(fig := plots.circuit(CHOSEN))
    (way,) = [trace for trace in fig.data if trace.name == "within a head"]
    assert (way.x[0], way.y[0]) == pytest.approx(where["L0KV0@left"])
    assert (way.x[16], way.y[16]) == pytest.approx(where["L0H1@last"])
    assert way.line.dash == "dot"
    alone = plots.circuit(CHOSEN.where(CHOSEN["writer"] != "L0H1@last"))
    assert "within a head" not in [trace.name for trace in alone.data]


def test_pointing_says_what_is_drawn():
    fig = plots.circuit(CHOSEN, title="<b>Mine</b>")
    said = [text for trace in fig.data for text in trace.hovertext or () if " to " in text]
    (first,) = [text for text in said if text.startswith("image@left to L0H0.k@left")]
    assert "effect [logits]: mean 5<br>95 % interval" in first
    _, nodes = marks(fig)
    (image,) = [text for text in nodes.hovertext if text.startswith("image@left")]
    assert image == "image@left<br>tells 2 edges: 5.6"
    assert fig.layout.title.text == "&lt;b&gt;Mine&lt;/b&gt;"


def test_the_largest_alone_are_drawn():
    where, _ = marks(plots.circuit(CHOSEN, most=2))
    assert set(where) == {"image@left", "L0KV0@left", "L0H1@last", "M0@last"}


def test_without_places_all_stands_in_one_column():
    edges = [("text", "deepstack1", "A0", "L1H0"), ("A0", "L1H1.v", "M1", "logits")]
    bare = xr.DataArray(
        np.where(np.eye(4) > 0, 1.0, np.nan),
        dims=("writer", "reader"),
        coords={"writer": list(edges[0]), "reader": list(edges[1])},
    )
    fig = plots.circuit(bare)
    assert fig.layout.xaxis.ticktext == ("",)
    where, _ = marks(fig)
    assert list(where) == ["text", "A0", "deepstack1", "L1H1", "M1", "L1H0", "logits"]
    assert len({(round(x, 3), y) for x, y in where.values()}) == 7


def test_what_is_no_circuit_is_refused():
    with pytest.raises(InputError, match="a circuit needs writer, reader"):
        plots.circuit(CHOSEN.rename(reader="head"))
    with pytest.raises(InputError, match="no edge to draw"):
        plots.circuit(CHOSEN.where(False))
    with pytest.raises(InputError, match="names no node"):
        plots.circuit(CHOSEN.assign_coords(writer=["banana", "b", "c", "d"]))
