"""A card's tables: groups, intervals, and what the shuffle takes."""

import numpy as np
import pytest
import xarray as xr

from vlmlens.experiments.card import order, scores, table


@pytest.fixture
def found():
    """Four questions: places are lost under the shuffle, things are not."""
    right = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [0, 1, 0, 0]], dtype=float)
    return xr.DataArray(
        right,
        dims=("condition", "sample"),
        coords={
            "condition": ["intact", "shuffled", "noise"],
            "sample": list("abcd"),
            "category": ("sample", ["object", "object", "color_abs", "color_rel"]),
            "form": ("sample", ["object / color_of", "object / shape_of", "x", "y"]),
            "gold": ("sample", ["red", "red", "blue", "green"]),
        },
    )


def test_a_row_has_every_condition_and_the_commonest_answer(found):
    rows = {row["group"]: row for row in table(found, "category")}
    assert rows["object"]["n"] == "2" and rows["object"]["majority"] == "1.000"
    assert rows["object"]["intact"].startswith("1.000 [")
    assert rows["object"]["noise"].startswith("0.500 [")
    assert rows["color_abs"]["shuffled"].startswith("0.000 [")


def test_the_shuffle_takes_places_and_leaves_things(found):
    rows = {row["kind"]: row for row in order(found)}
    assert rows["overall"]["psi"].startswith("33.3 [") and rows["overall"]["n"] == "4"
    assert rows["no place"]["psi"].startswith("0.0 [")
    assert rows["absolute"]["psi"].startswith("100.0 [")


def test_without_a_shuffle_nothing_is_said_of_order(found):
    assert order(found.sel(condition=["intact"])) == []


def test_conditions_are_measured_on_the_same_questions(vlm):
    from vlmlens.datasets.shapes_2d import entries

    answered = scores(vlm, list(entries(3)))
    assert answered["condition"].values.tolist() == ["intact", "shuffled", "noise"]
    assert answered.dims == ("condition", "sample") and not answered.isnull().any()
