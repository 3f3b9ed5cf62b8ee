"""Numbers that published sets report, worked out by hand and by others."""

import numpy as np
import pytest
from sklearn import metrics as theirs

from vlmlens.datasets.benchmarks import BENCHMARKS
from vlmlens.datasets.benchmarks.metrics import METRICS, Items, items
from vlmlens.datasets.draw import drawn
from vlmlens.errors import DataError
from vlmlens.graders import Graded
from vlmlens.sample import Sample


def columns(score, parsed=(), gold=(), **groups):
    size = len(score)
    return Items(
        np.array(score, dtype=float),
        np.array(parsed or [""] * size),
        np.array(gold or [""] * size),
        {name: np.array(column) for name, column in groups.items()},
    )


@pytest.mark.parametrize("seed", range(5))
def test_yes_and_no_are_counted_as_sklearn_does(seed):
    rng = np.random.default_rng(seed)
    gold, said = rng.choice(["yes", "no"], 40).tolist(), rng.choice(["yes", "no"], 40).tolist()
    found = columns([float(g == s) for g, s in zip(gold, said, strict=True)], said, gold)
    scores = theirs.precision_recall_fscore_support(gold, said, pos_label="yes", average="binary")
    for name, value in zip(("precision", "recall", "f1"), scores, strict=False):
        assert METRICS[name](found) == pytest.approx(value)
    assert METRICS["accuracy"](found) == pytest.approx(theirs.accuracy_score(gold, said))
    assert METRICS["yes_ratio"](found) == said.count("yes") / 40


def test_who_never_says_yes_has_no_precision_and_an_answer_that_is_neither_is_no_yes():
    found = columns([1, 0, 0], ["no", "no", ""], ["no", "yes", "yes"])
    values = [METRICS[name](found) for name in ("precision", "recall", "f1", "yes_ratio")]
    assert values == [0.0, 0.0, 0.0, 0.0]


def test_a_pair_counts_when_both_are_right():
    found = columns([1, 1, 1, 0, 0, 0], pair=list("aabbcc"), set=["x"] * 4 + ["y"] * 2)
    assert METRICS["pair_accuracy"](found) == pytest.approx(1 / 3)
    assert METRICS["set_accuracy"](found) == 0.0
    assert METRICS["accuracy"](found) == 0.5


def test_means_of_means():
    found = columns(
        [1, 1, 1, 0, 1, 0], type=["2D"] * 4 + ["3D"] * 2, source=[*"aaabcc"], config=[*"aaaaab"]
    )
    assert METRICS["accuracy_2d"](found) == 0.5  # (1 + 0) / 2, and not 3 / 4
    assert METRICS["accuracy_3d"](found) == 0.5
    assert METRICS["source_mean"](found) == 0.5
    assert METRICS["config_mean"](found) == pytest.approx((4 / 5 + 0) / 2)
    flat = found[np.array([0, 1, 2])]
    assert METRICS["source_mean"](flat) == 1.0
    assert np.isnan(METRICS["accuracy_3d"](flat))


def test_samples_become_columns():
    samples = [
        Sample("q", answer="yes", category="a", groups=(("pair", "1"),)),
        Sample("q", answer="no", category="b"),
    ]
    found = items(samples, [Graded(1.0, "yes"), Graded(0.0, "", "unparsed")])
    assert found.group("pair").tolist() == ["1", ""]
    assert found.group("category").tolist() == ["a", "b"]
    assert found.gold.tolist() == ["yes", "no"]
    with pytest.raises(DataError, match="no group 'set'; there is: pair, category"):
        METRICS["set_accuracy"](found)


def test_every_set_names_metrics_that_there_are():
    assert {name for each in BENCHMARKS.values() for name in each.metrics} == set(METRICS)


@pytest.mark.parametrize("name", METRICS)
def test_what_chance_would_get(name):
    """Guessing among so many choices, worked out on paper."""
    gold = ["yes", "yes", "yes", "no"]
    groups = {"pair": [*"aabb"], "set": ["x"] * 4, "config": [*"aaab"], "category": [*"aaab"]}
    groups |= {"type": ["2D", "2D", "2D", "3D"], "source": [*"aabc"]}
    found = columns([0, 1, 1, 0], ["no"] * 4, gold, **groups)
    half = METRICS[name](found.guessed(np.full(4, 0.5)))
    expected = {"precision": 0.75, "f1": 0.6, "pair_accuracy": 0.25, "set_accuracy": 0.5**4}
    expected["f1_mean"] = (2 / 3 + 0) / 2  # nothing is yes among the b
    assert half == pytest.approx(expected.get(name, 0.5))
    assert np.isnan(METRICS[name](found.guessed(np.full(4, np.nan))))


def test_pairs_are_drawn_whole():
    names = [Sample("q", id=str(n), groups=(("pair", str(n // 2)),)) for n in range(40)]
    some = drawn(names, 9, 3, BENCHMARKS["mmvp"].drawn_with)
    pairs = [dict(sample.groups)["pair"] for sample in some]
    assert len(some) == 8 and all(pairs.count(pair) == 2 for pair in pairs)
    assert some == [name for name in names if name in some]
    assert drawn(names, 9, 3, BENCHMARKS["mmvp"].drawn_with) == some
    assert drawn(names, 9, 4, BENCHMARKS["mmvp"].drawn_with) != some
    with pytest.raises(DataError, match="1 samples asked for, and 2 belong together"):
        drawn(names, 1, 0, BENCHMARKS["mmvp"].drawn_with)
