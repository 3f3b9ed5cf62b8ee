"""A card's tables: groups, intervals, and what the shuffle takes."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tests.benchmarks.coverage import two_models
from vlmlens.datasets.shapes import CATEGORIES, CONTROLS, entries
from vlmlens.study import paired
from vlmlens.study.card import table as arm_table
from vlmlens.study.model_card import SEED, order, scores, table
from vlmlens.study.paired import compared
from vlmlens.study.runs import stored


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


@pytest.mark.slow
def test_conditions_are_measured_on_the_same_questions(vlm):
    answered = scores(vlm, list(entries(3)))
    assert answered["condition"].values.tolist() == ["intact", "shuffled", "noise"]
    assert answered.dims == ("condition", "sample") and not answered.isnull().any()


def test_two_models_are_compared_question_by_question(found):
    whole = compared(found, found)
    assert whole["kind"].values.tolist() == ["overall", "no place", "absolute", "relative"]
    assert "4 samples" in whole.attrs["note"]
    row = whole.sel(kind="overall")
    assert row["accuracy"] == row["psi"] == 0
    assert row["accuracy_low"] == -row["accuracy_high"] < 0  # none of four says little
    worse = found.copy()
    worse.loc["intact", "a"] = 0.0  # of four questions one is lost, and then one to the shuffle
    row = compared(found, worse).sel(kind="overall")
    assert row["n"] == 4 and row["accuracy_one"] == 0.75 and row["accuracy"] == -0.25
    assert row["psi_one"] == pytest.approx(100 / 3) and row["psi"] == pytest.approx(-100 / 3)
    for name in ("accuracy_one", "accuracy"):
        assert row[f"{name}_low"] < row[name] < row[f"{name}_high"]
    with pytest.raises(ValueError, match="align"):
        compared(found, found.isel(sample=[0, 1]))


def test_both_models_are_asked_the_questions_of_a_card(found, monkeypatch, capsys):
    asked = []

    def answered(model, chosen, *, folder):
        asked.append([entry.id for entry in chosen])
        return found

    monkeypatch.setattr(paired, "scores", answered)
    monkeypatch.setattr(paired.HookedVLM, "from_pretrained", contextlib.nullcontext)
    paired.main("one", "other", each=2)
    own = entries(18, seed=SEED, split="test", categories=(*CATEGORIES, *CONTROLS))
    assert asked == [[entry.id for entry in own]] * 2
    said = capsys.readouterr().out
    assert "overall, 4 questions\n" in said and "only 4 samples" in said


@pytest.mark.slow
def test_differences_hold_their_level_where_questions_share_pictures():
    """Ten questions a picture. Drawn alone, they pass for ten times as much.

    Of 200 data sets .94, .97 and .955 hold the truth; of questions drawn alone .72, .69 and .67.
    """
    rng, sets = np.random.default_rng(0), 40
    held = {None: np.zeros(3), False: np.zeros(3)}
    for _ in range(sets):
        pair = two_models(rng, [10] * 20, (0.9, 0.7), (0.8, 0.5))
        for scene in held:
            row = compared(*pair, scene=scene).sel(kind="overall")
            truth = {"accuracy": -0.1, "psi": 37.5 - 200 / 9, "psi_one": 200 / 9}
            held[scene] += [
                bool(row[f"{name}_low"] <= true <= row[f"{name}_high"])
                for name, true in truth.items()
            ]
        assert row["units"] == 200
    assert (held[None] / sets >= 0.87).all(), held
    assert held[False].mean() / sets <= 0.82, held


def test_a_card_draws_pictures(found):
    """Cards, too: two questions about every picture are no more pictures."""
    rows = []
    one = xr.concat([found, found], "sample").assign_coords(sample=list("abcdefgh"))
    for picture in (list("abcdabcd"), list("abcdefgh")):
        shared = one.assign_coords(picture=("sample", picture))
        rows.append({row["group"]: row for row in table(shared, "category")}["object"])
    ends = [[float(x) for x in row["noise"][7:-1].split(", ")] for row in rows]
    assert ends[0][0] < ends[1][0] < 0.5 < ends[1][1] < ends[0][1]
    assert rows[0]["n"] == rows[1]["n"] == "4"


def test_seeds_are_no_more_questions():
    """Of an arm's card: the answers of several seeds to a question come and go together."""
    answers = stored(Path(__file__).parents[2] / "docs" / "study")["answers"]
    model = str(answers["model"].values[0])
    head, _, *rows = arm_table(answers, [model] * 3).splitlines()
    names = [name.strip() for name in head.split("|")]
    for row in rows:
        cells = dict(zip(names, (cell.strip() for cell in row.split("|")), strict=True))
        ends = [
            [float(x) for x in cells[name].partition("[")[2][:-1].split(", ")]
            for name in (f"seed {model[-1]}", "all seeds", "shuffled", "noise")
        ]
        assert all(low < high for low, high in ends)
        one, all_of_it = (high - low for low, high in ends[:2])
        assert all_of_it > 0.9 * one, row
