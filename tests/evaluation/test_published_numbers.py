"""What is tabulated of random answers equals the sets' own formulas, written here with pandas."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from vlmlens.datasets.benchmarks import BENCHMARKS
from vlmlens.evaluation.asking import _told
from vlmlens.evaluation.evaluation import _told as told_of
from vlmlens.evaluation.evaluation import tabulated
from vlmlens.evaluation.regrading import graded
from vlmlens.evaluation.sets import Questions
from vlmlens.identity import unit
from vlmlens.sample import Sample

LETTERS = "ABCD"


def sample(rng, number, answer, choices, category="", **groups):
    named = tuple((kind, str(name)) for kind, name in groups.items())
    whole = next((kind for kind in ("set", "pair") if kind in groups), "")
    shade = number if whole else int(rng.integers(0, 40))  # questions share pictures, pairs do not
    picture = Image.new("RGB", (2, 2), (shade, 0, 0))
    return Sample(
        "Which?", picture, answer, choices, category, str(number), groups=named, unit=whole
    )


def pope(rng):
    kinds = ("random", "popular", "adversarial")
    samples = [
        sample(rng, n, str(rng.choice(["yes", "no"])), ("yes", "no"), str(rng.choice(kinds)))
        for n in range(90)
    ]
    return samples, lambda: str(rng.choice(["Yes.", "No", "no, there is not", "I cannot tell"]))


def lettered(rng, count, **groups: Callable[[int], object]):
    samples = []
    for n in range(count):
        size = int(rng.integers(2, 5))
        mine = {kind: of(n) for kind, of in groups.items()}
        samples.append(sample(rng, n, LETTERS[rng.integers(size)], tuple(LETTERS[:size]), **mine))
    return samples, lambda: str(
        rng.choice(["A", "(B)", "C.", "A or B", "Z"], p=[0.4, 0.3, 0.1, 0.1, 0.1])
    )


def whatsup(rng):
    return lettered(
        rng, 48, set=lambda n: n // 4, pair=lambda n: n // 2, relation=lambda n: LETTERS[n % 4]
    )


MADE = {
    "pope": pope,
    "mmvp": lambda rng: lettered(rng, 60, pair=lambda n: n // 2),
    "cv-bench": lambda rng: lettered(
        rng,
        80,
        type=lambda n: ("2D", "3D")[n % 2],
        source=lambda n: ("ADE20K", "Omni3D", "COCO", "Omni3D", "COCO", "Omni3D")[n % 6],
    ),
    "whatsup": whatsup,
    "blink": lambda rng: lettered(rng, 70, config=lambda n: "abc"[min(n // 10, 2)]),
}


def formulas(name, t):
    """By metric: of a frame with the right answer, what was said, and groups."""
    ok = t["right"]
    if name == "pope":
        yes, gold = t["said"] == "yes", t["gold"] == "yes"

        def f1(rows):
            hits = (yes & gold)[rows].sum()
            p, r = hits / yes[rows].sum(), hits / gold[rows].sum()
            return 2 * p * r / (p + r)

        parts = [t["category"] == kind for kind in t["category"].unique()]
        return {
            "accuracy": (t["said"] == t["gold"]).mean(),
            "precision": (yes & gold).sum() / yes.sum(),
            "recall": (yes & gold).sum() / gold.sum(),
            "f1": f1(yes | ~yes),
            "yes_ratio": yes.mean(),
            "f1_mean": np.mean([f1(part) for part in parts]),
        }
    if name == "mmvp":
        return {"pair_accuracy": ok.groupby(t["pair"]).sum().eq(2).mean(), "accuracy": ok.mean()}
    if name == "cv-bench":
        by = ok.groupby(t["source"]).mean()
        flat = (by["ADE20K"] + by["COCO"]) / 2
        means = {"source_mean": (flat + by["Omni3D"]) / 2, "accuracy_2d": flat}
        return means | {"accuracy_3d": by["Omni3D"], "accuracy": ok.mean()}
    if name == "whatsup":
        pairs, sets = ok.groupby(t["pair"]).sum(), ok.groupby(t["set"]).sum()
        return {
            "accuracy": ok.mean(),
            "pair_accuracy": (pairs == 2).sum() / (len(t) / 2),
            "set_accuracy": (sets == 4).sum() / (len(t) / 4),
        }
    return {"config_mean": ok.groupby(t["config"]).mean().mean(), "accuracy": ok.mean()}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", MADE)
def test_a_sets_own_numbers(name, seed):
    rng = np.random.default_rng(seed)
    samples, answer = MADE[name](rng)
    bench = BENCHMARKS[name]
    asked = Questions(name, samples, bench.rule, bench.metrics, bench.by)
    assert asked.metrics == bench.metrics
    common = {"model": "m", "condition": "clean", "permutation": None, "scoring": "greedy"}
    common |= {"error": None, "log_prob": -1.0}
    said = [answer() for _ in samples]
    rows = [
        common | _told(s, s.id, asked, unit(s)) | {"answer": a}
        for s, a in zip(samples, said, strict=True)
    ]
    items = pd.DataFrame(rows).astype({"permutation": "Int64"})
    settings = {"sets": {name: told_of(asked)}, "seed": 0, "conditions": ["clean"]}
    found = tabulated(graded(items, {name: bench.rule}), settings).metrics
    read = {"Yes.": "yes", "No": "no", "no, there is not": "no"}
    read |= {"A": "A", "(B)": "B", "C.": "C"}
    frame = pd.DataFrame([dict(s.groups) | {"category": s.category} for s in samples])
    frame["gold"] = [s.answer for s in samples]
    frame["said"] = [
        read.get(a, "") if read.get(a, "") in s.choices else ""
        for a, s in zip(said, samples, strict=True)
    ]
    frame["right"] = frame["said"] == frame["gold"]
    whole = found[found["group"] == ""].set_index("metric")
    expected = formulas(name, frame)
    assert set(whole.index) == set(expected)
    for metric, value in expected.items():
        assert whole.loc[metric, "value"] == pytest.approx(value), metric
        assert whole.loc[metric, "low"] <= value <= whole.loc[metric, "high"]
    torn = sum(a == "A or B" for a in said)
    assert whole["ambiguous"].iloc[0] == pytest.approx(torn / len(said))
    chance = np.mean([1 / len(s.choices) for s in samples])
    assert whole.loc["accuracy", "chance"] == pytest.approx(chance)
    draws = {"mmvp": 30, "whatsup": 12}.get(name, len({unit(s) for s in samples}))
    assert set(whole["units"]) == {draws}
    for kind, members in frame[[*set(bench.by) & set(frame)]].items():
        for member in members.unique():
            part = found[(found["group"] == kind) & (found["member"] == member)]
            part = part[part["metric"] == "accuracy"]
            if len(part):
                own = (frame["said"] == frame["gold"])[members == member].mean()
                assert part["value"].iloc[0] == pytest.approx(own)
