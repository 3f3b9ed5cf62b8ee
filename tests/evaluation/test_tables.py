"""Tables of items that were made by hand: what is counted, left out, compared."""

import numpy as np
import pandas as pd
import pytest

from vlmlens.datasets.benchmarks.benchmark import Submission
from vlmlens.evaluation.evaluation import tabulated
from vlmlens.evaluation.saving import submission
from vlmlens.evaluation.turned import flips

SPEC = {"metrics": ["pair_accuracy", "accuracy"], "unit": "pair", "by": ["category"]}
SPEC |= {"grader": "letter", "submission": None, "given": {}}
ROW = {
    "data": "set",
    "prompt_form": "set/form",
    "question": "Which?",
    "gold": "A",
    "choices": ["A", "B"],
    "options": [],
    "references": [],
    "scoring": "greedy",
    "rule": "letter/4",
    "log_prob": -1.0,
}


def rows(model, condition, scores, permutation=None, failed=()):
    """Items 0, 1 are a pair, as are 2, 3 and so on; one score each."""
    found = []
    for n, score in enumerate(scores):
        pair = str(n // 2)
        own = {"model": model, "condition": condition, "permutation": permutation}
        own |= {"sample": str(n), "unit": pair, "picture": str(n), "category": "ab"[n // 4 % 2]}
        own |= {"groups": [{"kind": "pair", "name": pair}]}
        own |= {"answer": "A" if score else "B", "parsed": "A", "state": "parsed", "score": score}
        own["error"] = None
        if n in failed:
            own |= {"answer": None, "parsed": None, "state": None, "score": np.nan, "error": "no"}
        found.append(ROW | own)
    return found


def table(*parts):
    items = pd.DataFrame([row for part in parts for row in part]).astype({"permutation": "Int64"})
    names = list(dict.fromkeys(items["condition"]))
    return tabulated(items, {"sets": {"set": SPEC}, "seed": 0, "conditions": names})


def overall(found, **which):
    part = found.metrics[found.metrics["group"] == ""]
    for name, value in which.items():
        part = part[part[name] == value]
    return part.set_index("metric")


RIGHT = [1, 1, 1, 0, 1, 1, 0, 0]


def test_pairs_and_answers_are_counted_and_chance_is_that_of_both():
    found = overall(table(rows("m", "clean", RIGHT)))
    assert found.loc["pair_accuracy", "value"] == 0.5
    assert found.loc["accuracy", "value"] == 0.625
    assert found["chance"].tolist() == [0.25, 0.5]
    assert found["n"].tolist() == [8, 8] and found["units"].tolist() == [4, 4]


def test_a_pair_is_left_out_whole():
    """Item 3 failed, so item 2 is in no metric either; it is counted as neither."""
    found = overall(table(rows("m", "clean", RIGHT, failed=(3,))))
    assert found["n"].tolist() == [6, 6] and found["failed"].tolist() == [1, 1]
    assert found["value"].tolist() == [2 / 3, 4 / 6]


def test_several_permutations_are_averaged():
    shuffled = [rows("m", "permuted", [1, 0] * 4, 0), rows("m", "permuted", [1, 1] * 4, 1)]
    found = table(rows("m", "clean", RIGHT), *shuffled)
    permuted = overall(found, condition="permuted")
    assert permuted["value"].tolist() == [0.5, 0.75]
    row = found.psi[found.psi["member"] == "overall"].iloc[0]
    assert row["psi"] == pytest.approx(100 * (0.625 - 0.75) / 0.625)
    assert set(found.psi["member"]) == {"overall", "a", "b"}


def test_two_models_are_compared_about_what_neither_failed_on():
    one = rows("one", "clean", RIGHT, failed=(0,))
    other = rows("other", "clean", [1] * 8, failed=(7,))
    found = table(one, other).differences
    row = found[(found["group"] == "") & (found["metric"] == "accuracy")].iloc[0]
    assert (row["model"], row["other_model"], row["n"]) == ("other", "one", 4)
    assert row["difference"] == pytest.approx(1 - 3 / 4)
    assert row["low"] <= row["difference"] <= row["high"]


def test_a_submission_has_every_question_in_the_form_that_is_taken():
    found = table(rows("m", "clean", RIGHT, failed=(3,)))
    numbered = submission(
        found.items, "set", "m", Submission("question_id", "answer", numbered=True)
    )
    assert numbered[2:4] == [{"question_id": 2, "answer": "A"}, {"question_id": 3, "answer": ""}]
    assert len(numbered) == 8
    plain = submission(found.items, "set", "m", Submission("questionId", "prediction", plain=True))
    assert plain[2] == {"questionId": "2", "prediction": "a"}


def test_an_item_flips_where_most_permutations_turn_it():
    shuffled = [rows("m", "permuted", [0, 0, 0, 0, 1, 1, 1, 0], n) for n in range(3)]
    shuffled[2] = rows("m", "permuted", [0, 1, 1, 0, 1, 1, 1, 0], 2)
    turned = flips(table(rows("m", "clean", RIGHT), *shuffled))
    assert turned["sample"].tolist() == ["0", "1", "2", "6"]
    assert turned["became"].tolist() == pytest.approx([0, 1 / 3, 1 / 3, 1])
    assert turned["after"].tolist() == [["B"], ["B", "A"], ["B", "A"], ["A"]]


@pytest.mark.parametrize("permutations", [1, 2, 5])
def test_an_accuracy_has_one_interval_whichever_table_tells_it(permutations):
    """Shuffles that disagree count as more answers than one: in the metrics as in PSI's table."""
    rng = np.random.default_rng(permutations)
    easy = rng.random(60)
    shuffled = [
        rows("m", "permuted", (rng.random(60) < easy).astype(float), n) for n in range(permutations)
    ]
    clean = rows("m", "clean", (rng.random(60) < 0.8).astype(float))
    found = table(clean, *shuffled)
    metrics = found.metrics[found.metrics["metric"] == "accuracy"].fillna({"member": ""})
    for row in found.psi.to_dict("records"):
        own = metrics[(metrics["member"] == row["member"])].set_index("condition")
        for condition, name in (("clean", "accuracy"), ("permuted", "accuracy_permuted")):
            told = [own.loc[condition, column] for column in ("value", "low", "high")]
            np.testing.assert_allclose(told, [row[name], row[f"{name}_low"], row[f"{name}_high"]])
