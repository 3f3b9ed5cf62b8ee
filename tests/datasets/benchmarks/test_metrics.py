"""Numbers that published sets report, worked out by hand and by others."""

import json
from typing import Any

import numpy as np
import pytest
from published_files import PUBLISHED
from sklearn import metrics as theirs

from vlmlens.datasets.benchmarks import BENCHMARKS
from vlmlens.datasets.benchmarks.metrics import METRICS, Items, items
from vlmlens.datasets.benchmarks.vsr import META, RELATIONS
from vlmlens.datasets.draw import drawn
from vlmlens.errors import DataError
from vlmlens.graders import GRADERS, Graded
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
    label: Any = "yes"
    scores = theirs.precision_recall_fscore_support(gold, said, pos_label=label, average="binary")
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
    groups |= {"type": ["2D", "2D", "2D", "3D"], "source": [*"aabc"], "balanced": ["yes"] * 4}
    groups |= {"bonus": [*"aabb"], "entailed": ['["0"]'] * 4, "sample": [*"0123"]}
    groups |= dict.fromkeys(("valid", "plausible"), ['["yes"]'] * 4)
    found = columns([0, 1, 1, 0], ["no"] * 4, gold, **groups)
    half = METRICS[name](found.guessed(np.full(4, 0.5)))
    expected = {"precision": 0.75, "f1": 0.6, "pair_accuracy": 0.25, "set_accuracy": 0.5**4}
    expected["f1_mean"] = (2 / 3 + 0) / 2  # nothing is yes among the b
    expected["pair_bonus"] = (0.5 + 0.5 + 0.25) / 3
    # What is said at random is not known, and so neither what is among a list.
    expected |= dict.fromkeys(("consistency", "validity", "plausibility"), np.nan)
    assert half == pytest.approx(expected.get(name, 0.5), nan_ok=True)
    assert np.isnan(METRICS[name](found.guessed(np.full(4, np.nan))))


def test_pairs_are_drawn_whole():
    pairs = [(("pair", str(n // 2)),) for n in range(40)]
    names = [Sample("q", id=str(n), groups=pair, unit="pair") for n, pair in enumerate(pairs)]
    some = drawn(names, 9, 3)
    pairs = [dict(sample.groups)["pair"] for sample in some]
    assert len(some) == 8 and all(pairs.count(pair) == 2 for pair in pairs)
    assert some == [name for name in names if name in some]
    assert drawn(names, 9, 3) == some
    assert drawn(names, 9, 4) != some
    with pytest.raises(DataError, match="1 samples asked for, and 2 belong together"):
        drawn(names, 1, 0)


def gqa_by_hand(names, gold, said, balanced, entailed, valid):
    """As the set's own script goes through its questions."""
    scores = {"balanced_accuracy": [], "consistency": [], "validity": []}
    answers = dict(zip(names, zip(gold, said, strict=True), strict=True))
    for row, name in enumerate(names):
        if not balanced[row]:
            continue
        right = gold[row] == said[row]
        scores["balanced_accuracy"].append(float(right))
        scores["validity"].append(float(said[row] in valid[row]))
        follow = [each for each in entailed[row] if each != name]
        if right and follow:
            scores["consistency"].append(np.mean([answers[e][0] == answers[e][1] for e in follow]))
    return {name: np.mean(values) for name, values in scores.items()}


@pytest.mark.parametrize("seed", range(5))
def test_gqa_counts_as_its_own_script_does(seed):
    rng = np.random.default_rng(seed)
    names = [str(n) for n in range(60)]
    gold, said = rng.choice([*"abc"], 60), rng.choice([*"abcd"], 60)
    balanced = rng.random(60) < 0.6
    entailed = [rng.choice(names, rng.integers(0, 4), replace=False).tolist() for _ in names]
    valid = [rng.choice([*"abcd"], 2, replace=False).tolist() for _ in names]
    follow = [[e for e in each if e != name] for each, name in zip(entailed, names, strict=True)]
    found = columns(
        (gold == said).astype(float).tolist(), said.tolist(), gold.tolist(),
        sample=names, balanced=np.where(balanced, "yes", "no"),
        entailed=[json.dumps(each) for each in follow], valid=[json.dumps(each) for each in valid],
    )  # fmt: skip
    expected = gqa_by_hand(names, gold, said, balanced, entailed, valid)
    for name, value in expected.items():
        assert METRICS[name](found) == pytest.approx(value), name


def test_a_question_whose_followers_were_not_all_asked_tells_no_consistency():
    groups = {"sample": ["0", "1"], "entailed": ['["1"]', '["9"]'], "balanced": ["yes", "yes"]}
    found = columns([1, 1], ["a", "a"], ["a", "a"], **groups)
    assert METRICS["consistency"](found) == 1.0
    assert np.isnan(METRICS["consistency"](found[np.array([1])]))
    assert METRICS["consistency"](columns([1, 0], ["a", "b"], ["a", "a"], **groups)) == 0.0


def test_what_follows_and_what_is_plausible_is_read_from_gqas_own_files(tmp_path):
    PUBLISHED["gqa, all"][3](tmp_path)
    one, follows, common = BENCHMARKS["gqa"].load(tmp_path, "val_all")
    assert json.loads(dict(one.groups)["entailed"]) == ["201"]  # itself is no follower
    assert dict(follows.groups)["balanced"] == "no"
    assert json.loads(dict(one.groups)["plausible"]) == ["woman", "man"]
    assert json.loads(dict(common.groups)["valid"]) == ["color", "material", "shape"]
    (tmp_path / "eval" / "val_choices.json").write_text('{"200": {"valid": [], "plausible": []}}')
    with pytest.raises(DataError, match="the choices hold no question 201"):
        BENCHMARKS["gqa"].load(tmp_path, "val_all")
    (tmp_path / "eval" / "val_choices.json").unlink()
    assert "valid" not in dict(BENCHMARKS["gqa"].load(tmp_path, "val_all")[0].groups)


def test_vsrs_kinds_of_relations_are_the_authors(tmp_path):
    PUBLISHED["vsr, zeroshot"][3](tmp_path)
    found = BENCHMARKS["vsr"].load(tmp_path, "zeroshot-test")
    assert [sample.category for sample in found] == ["Topological", "Orientation"]
    assert len(RELATIONS) == 7 and META["in front of"] == "Projective"
    assert META["among"] == "Unallocated"  # listed twice: the later one counts


def test_lines_of_one_vsr_split_are_none_of_another(tmp_path):
    PUBLISHED["vsr, random"][3](tmp_path)
    with pytest.raises(DataError, match=r"is of the random split, having reference_frame"):
        BENCHMARKS["vsr"].load(tmp_path, "zeroshot-test")


@pytest.mark.parametrize(
    ("said", "gold", "score"),
    [
        ("Yes, it is.", "Yes", 1.0), ("No", "Yes", 0.0), ("4", "4", 1.0), ("5", "4", 0.75),
        ("There are three.", "4", 0.75), ("12", "4", 0.0), ("many", "4", 0.0), ("0", "0", 1.0),
        ("3 or 5", "4", 0.0), ("", "4", 0.0),
    ],
)  # fmt: skip
def test_spatial_bench_counts_by_how_near(said, gold, score):
    graded = GRADERS["spatial_bench"](said, Sample("How many?", answer=gold))
    assert graded.score == pytest.approx(score)


def test_spatial_bench_gives_a_point_for_each_and_one_for_both():
    found = columns([1, 1, 1, 0, 0, 0], bonus=list("aabbcc"))
    assert METRICS["pair_bonus"](found) == pytest.approx((3 + 1 + 0) / 9)
