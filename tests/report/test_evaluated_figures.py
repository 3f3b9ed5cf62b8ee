"""Figures of an evaluation's page: every estimate once, in its model's colour, with its ends."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from vlmlens.evaluation import Evaluation
from vlmlens.report import compare, drawn
from vlmlens.report.forest import Point, forest


def made(models=("one", "two"), category=("a", "b"), psi=20.0):
    """An evaluation whose numbers tell where they belong."""
    metrics, differences, table = [], [], []
    for m, model in enumerate(models):
        for c, condition in enumerate(("clean", "permuted")):
            row = {
                "data": "set",
                "model": model,
                "condition": condition,
                "group": "",
                "member": "overall",
            }
            row |= {"metric": "accuracy", "value": 0.9 - 0.2 * c - 0.1 * m, "chance": 0.25, "n": 40}
            row |= {"low": row["value"] - 0.1, "high": row["value"] + 0.1, "blind": np.nan}
            row |= {"units": 40, "unparsed": 0.0, "ambiguous": 0.0, "failed": 0, "unanswered": 0}
            row |= {"unit": "picture", "permutations": 1, "rule": "letter/4", "prompt_form": ""}
            metrics.append(row)
            if m:
                told = {"other_model": models[0], "other_condition": condition, "difference": -0.1}
                differences.append(row | told | {"low": -0.3, "high": 0.1, "p": 0.4})
        for number, member in enumerate(("overall", *category)):
            row = {"data": "set", "model": model, "condition": "permuted", "member": member}
            row |= {"group": "" if member == "overall" else "category", "n": 40, "p_value": 0.1}
            row |= {"accuracy": 0.9, "accuracy_permuted": 0.7, "psi": psi + number}
            for name, reach in (("accuracy", 0.1), ("accuracy_permuted", 0.1), ("psi", 5.0)):
                row |= {f"{name}_low": row[name] - reach, f"{name}_high": row[name] + reach}
            table.append(row)
    items = pd.DataFrame(
        {name: [] for name in ("model", "data", "sample", "condition", "error", "score", "answer",
                               "question", "choices", "options", "gold")}
    )  # fmt: skip
    settings = {"models": {name: {} for name in models}, "conditions": ["clean", "permuted"]}
    settings |= {"sets": {"set": {"metrics": ["accuracy"], "unit": "picture", "by": ["category"]}}}
    settings |= {"permutations": 1, "scoring": "greedy", "max_new_tokens": 16, "seed": 0}
    one, other, third = (pd.DataFrame(each) for each in (metrics, differences, table))
    return Evaluation(items, one, other, third, settings)


def dots(fig):
    return {t.name: list(t.x) for t in fig.data if t.mode == "markers"}


def test_every_condition_of_every_model_is_drawn_with_its_interval():
    fig: Any = drawn.by_condition(made(), "set", "accuracy")
    assert dots(fig) == {"one": pytest.approx([0.9, 0.7]), "two": pytest.approx([0.8, 0.6])}
    bars = {t.name: list(t.x) for t in fig.data if t.name.endswith("interval")}
    assert bars["two, 95 % interval"] == pytest.approx([0.7, 0.9, None, 0.5, 0.7, None])
    chance = next(t for t in fig.data if t.name == "chance level")
    assert {x for x in chance.x if x is not None} == {0.25}
    assert list(fig.layout.yaxis.ticktext) == ["clean", "permuted"]


@pytest.mark.parametrize("models", [("one",), ("one", "two")])
def test_a_long_interval_of_psi_leaves_room_for_the_others(models):
    found = made(models=models)
    found.psi.loc[found.psi["member"] == "a", "psi_low"] = -2500.0
    fig: Any = drawn.psi_by_category(found, "set")
    axis = fig.layout.xaxis2 if len(models) == 1 else fig.layout.xaxis
    arrows = [t for t in fig.data if t.name.endswith("interval goes on")]
    assert -120 < axis.range[0] < -100 and axis.range[1] < 40
    assert len(arrows) == len(models)
    assert all(list(t.x) == [axis.range[0]] for t in arrows)
    assert "2.5e+03" in arrows[0].hovertext[0]


def test_models_keep_their_colours_and_the_first_is_what_others_are_held_against():
    found = made()
    both: Any = drawn.by_condition(found, "set", "accuracy")
    colours = {t.name: t.marker.color for t in both.data if t.mode == "markers"}
    fig: Any = drawn.differences(found, "set", "accuracy")
    assert dots(fig) == {"two": pytest.approx([-0.1, -0.1])}
    assert [t.marker.color for t in fig.data if t.mode == "markers"] == [colours["two"]]
    assert drawn.differences(made(models=("one",)), "set", "accuracy") is None


def test_psi_is_drawn_by_category():
    assert dots(drawn.psi_by_category(made(), "set")) == {
        "one": [20.0, 21.0, 22.0],
        "two": [20.0, 21.0, 22.0],
    }
    alone = drawn.psi_by_category(made(models=("one",)), "set")
    assert dots(alone)["PSI"] == pytest.approx([20, 21, 22])
    assert dots(alone)["shuffled vision tokens"] == pytest.approx([70, 70, 70])
    assert drawn.psi_by_category(made(psi=np.nan), "set") is None
    many = made(category=[f"c{n:02}" for n in range(60)])
    assert len(dots(drawn.psi_by_category(many, "set"))["one"]) == drawn.MOST


def test_texts_of_data_stay_texts():
    fig: Any = forest(
        [Point("<b>x</b>", "<i>m</i>", 0.5), Point("<b>x</b>", "other", 0.6)], "accuracy"
    )
    assert (
        "<b>" not in str(fig.layout.yaxis.ticktext) and fig.data[1].name == "&lt;i&gt;m&lt;/i&gt;"
    )
    assert fig.data[0].x == ()  # no interval, no bar


def test_the_page_holds_the_figures(tmp_path):
    page = compare(made(), tmp_path / "page.html").read_text()
    for kind in ("conditions", "differences", "psi"):
        assert f'id="figure-{kind}-0"' in page
    page = compare(made(models=("one",)), tmp_path / "one.html").read_text()
    assert 'id="figure-differences-0"' not in page and 'id="figure-psi-0"' in page
