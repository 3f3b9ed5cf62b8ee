import numpy as np
import pytest
import xarray as xr

from vlmlens import plots
from vlmlens.errors import InputError


def table(scale=1.0, units="fraction", categories=("overall", "color")):
    """Accuracy 0.9 and 0.8, shuffled 0.45 and 0.8; a PSI of 50 and 0 per cent."""
    columns = {
        "accuracy": ([0.9, 0.8], [0.8, 0.7], [1.0, 0.9]),
        "accuracy_permuted": ([0.45, 0.8], [0.4, 0.7], [0.5, 0.9]),
    }
    data = {}
    for name, parts in columns.items():
        for end, values in zip(("", "_low", "_high"), parts, strict=True):
            data[name + end] = ("category", np.array(values) * scale, {"units": units})
    data |= {
        "psi": ("category", [50.0, 0.0], {"units": "percent"}),
        "psi_low": ("category", [40.0, -10.0]),
        "psi_high": ("category", [60.0, 10.0]),
        "chance": ("category", np.array([0.25, 0.5]) * scale),
        "n": ("category", [20, 10]),
        "p_value": ("category", [0.001, 1.0]),
    }
    return xr.Dataset(data, coords={"category": list(categories)})


def dots(fig):
    return {trace.name: trace for trace in fig.data if trace.mode == "markers"}


@pytest.mark.parametrize(("scale", "units"), [(1.0, "fraction"), (100.0, "percent")])
def test_dots_are_the_estimates_in_per_cent(scale, units):
    shown = dots(plots.psi(table(scale, units)))
    np.testing.assert_allclose(shown["original order"].x, [90, 80])
    np.testing.assert_allclose(shown["shuffled vision tokens"].x, [45, 80])
    np.testing.assert_allclose(shown["chance level"].x, [25, 50])
    np.testing.assert_allclose(shown["PSI"].x, [50, 0])
    assert shown["PSI"].xaxis == "x2"


def test_bars_are_the_intervals_and_a_line_joins_the_two_accuracies():
    drawn = {trace.name: trace for trace in plots.psi(table()).data}
    assert drawn["PSI, 95 % interval"].x == (40.0, 60.0, None, -10.0, 10.0, None)
    assert drawn["PSI, 95 % interval"].y == (0, 0, None, 1, 1, None)
    assert drawn["change"].x == (90.0, 45.0, None, 80.0, 80.0, None)


def test_pointing_tells_the_rest():
    hover = dots(plots.psi(table()))["PSI"].hovertext[0]
    assert hover == "overall<br>PSI: 50.0 %<br>95 % interval [40.0, 60.0]<br>n = 20<br>p = 0.001"


def test_the_first_category_is_at_the_top_and_zero_is_marked():
    layout = plots.psi(table(), title="<i>").layout
    assert layout.yaxis.range[0] > layout.yaxis.range[1]
    assert layout.yaxis.ticktext == ("overall", "color")
    (line,) = layout.shapes
    assert (line.x0, line.x1, line.xref) == (0, 0, "x2")
    assert layout.xaxis2.range[0] < -10
    assert layout.xaxis2.range[1] > 60
    assert layout.title.text == "&lt;i&gt;"


def test_intervals_guessing_and_counts_may_be_absent():
    bare = table()[["accuracy", "accuracy_permuted", "psi"]]
    fig = plots.psi(bare)
    assert "chance level" not in dots(fig)
    assert dots(fig)["PSI"].hovertext[0] == "overall<br>PSI: 50.0 %"


@pytest.mark.parametrize("low", [-99.0, -101.0, -2500.0])
@pytest.mark.parametrize("high", [60.0, 101.0, 900.0])
@pytest.mark.parametrize("value", [50.0, -300.0])
def test_a_long_interval_takes_no_room_from_the_others(low, high, value):
    """Every estimate is on the axis; of intervals what lies within -100 and 100, then an arrow."""
    long = table()
    for name, x in (("psi", value), ("psi_low", low), ("psi_high", high)):
        long[name][0] = x
    fig = plots.psi(long)
    left, right = fig.layout.xaxis2.range
    assert left < min(value, 0) and max(value, 0) < right
    assert right - left <= 1.1 * (max(100, value) - min(-100, value)) + 1e-9
    arrows = dots(fig).get("PSI, 95 % interval goes on")
    beyond = [edge for edge, on in ((left, low < left), (right, high > right)) if on]
    assert beyond == ([] if arrows is None else list(arrows.x))
    assert arrows is None or arrows.hovertext[0] == f"95 % interval [{low:.3g}, {high:.3g}]"
    bar = next(t for t in fig.data if t.name == "PSI, 95 % interval")
    assert bar.x[:2] == (low, high)


def test_an_undefined_psi_leaves_its_row_empty():
    undefined = table()
    for name in ("psi", "psi_low", "psi_high"):
        undefined[name][:] = np.nan
    assert np.isnan(dots(plots.psi(undefined))["PSI"].x).all()


def test_names_from_data_are_shown_and_not_obeyed():
    names = ("overall", "</script><script>alert(1)</script>")
    fig = plots.psi(table(categories=names))
    assert fig.layout.yaxis.ticktext[1] == "&lt;/script&gt;&lt;script&gt;alert(1)&lt;/…"
    assert "<script" not in dots(fig)["PSI"].hovertext[1]
    assert "<script" not in fig.to_json()


def test_what_is_missing_is_named():
    with pytest.raises(InputError, match="needs the variables accuracy_permuted; there are"):
        plots.psi(table().drop_vars("accuracy_permuted"))
    with pytest.raises(InputError, match="model"):
        plots.psi(table().expand_dims("model"))


def test_models_side_by_side_have_a_colour_and_a_line_each():
    second = table().map(lambda values: values, keep_attrs=True)
    second["psi"] = second["psi"] - 20
    both = xr.concat([table(), second], "model").assign_coords(model=["a", "<b>"])
    fig = plots.psi(both, by="model")
    shown = [
        trace for trace in fig.data if trace.mode == "markers" and trace.name != "chance level"
    ]
    assert [trace.name for trace in shown if trace.showlegend] == [
        "a", "a, shuffled", "&lt;b&gt;", "&lt;b&gt;, shuffled",
    ]  # fmt: skip
    first, other = (trace for trace in shown if trace.xaxis == "x2")
    assert (first.x.tolist(), other.x.tolist()) == ([50, 0], [30, -20])
    assert first.marker.color != other.marker.color and first.marker.symbol != other.marker.symbol
    assert [b - a for a, b in zip(first.y, other.y, strict=True)] == pytest.approx([0.26] * 2)
    assert [(a + b) / 2 for a, b in zip(first.y, other.y, strict=True)] == pytest.approx([0, 1])
    low, high = fig.layout.xaxis2.range
    assert low < -20 and high > 60  # the axis has room for both
    assert sum(trace.name == "chance level" and trace.showlegend for trace in fig.data) == 1
    with pytest.raises(InputError, match="model"):
        plots.psi(both)
