"""A card's tables: groups, intervals, and what the shuffle takes."""

import numpy as np
import pytest
import xarray as xr

from vlmlens.study.model_card import order, scores, table
from vlmlens.study.paired import compared


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
    from vlmlens.datasets.shapes import entries

    answered = scores(vlm, list(entries(3)))
    assert answered["condition"].values.tolist() == ["intact", "shuffled", "noise"]
    assert answered.dims == ("condition", "sample") and not answered.isnull().any()


def test_two_models_are_compared_question_by_question(found):
    whole = compared(found, found)
    assert whole["kind"].values.tolist() == ["overall", "no place", "absolute", "relative"]
    assert not whole[["accuracy", "accuracy_low", "psi_high"]].sel(kind="overall").to_array().any()
    worse = found.copy()
    worse.loc["intact", "a"] = 0.0  # of four questions one is lost, and then one to the shuffle
    row = compared(found, worse).sel(kind="overall")
    assert row["n"] == 4 and row["accuracy_one"] == 0.75 and row["accuracy"] == -0.25
    assert row["psi_one"] == pytest.approx(100 / 3) and row["psi"] == pytest.approx(-100 / 3)
    assert row["accuracy_one_low"] < 0.75 < row["accuracy_one_high"]
    assert row["accuracy_low"] < -0.25
    assert row["accuracy_high"] == 0  # paired: no draw of questions makes the second better
    with pytest.raises(ValueError, match="align"):
        compared(found, found.isel(sample=[0, 1]))
