"""Intervals of any metric, and of differences, are those of the units that are drawn."""

import numpy as np
import pytest
from scipy import stats

from vlmlens.datasets.benchmarks.metrics import METRICS, Items
from vlmlens.estimates import share_interval
from vlmlens.evaluation.intervals import difference, exchanged_p, summed


def of(name, score, which, said=None, gold=None, **groups):
    size = len(score)
    found = Items(
        np.asarray(score, dtype=float),
        np.array([""] * size if said is None else said),
        np.array([""] * size if gold is None else gold),
        {key: np.asarray(column) for key, column in groups.items()},
    )
    made = METRICS[name].sums(found)
    return summed(made.rows, made.value, np.asarray(which))


def test_accuracy_has_the_interval_of_a_share():
    rng = np.random.default_rng(0)
    which = rng.integers(0, 30, 100)
    score = (rng.random(100) < 0.6).astype(float)
    right, count = (np.bincount(which, weights=x)[:, None] for x in (score, np.ones(100)))
    np.testing.assert_allclose(
        of("accuracy", score, which).interval(), share_interval(right, count)[:, 0]
    )


def test_questions_about_one_picture_are_one_draw():
    """Six answers that always agree are no more than one."""
    score = np.repeat(np.random.default_rng(1).random(50) < 0.6, 6).astype(float)
    alone = of("accuracy", score, np.arange(300)).interval()
    together = of("accuracy", score, np.repeat(np.arange(50), 6)).interval()
    once = of("accuracy", score[::6], np.arange(50)).interval()
    assert together[2] - together[1] > 2 * (alone[2] - alone[1])
    np.testing.assert_allclose(together, once, atol=1e-9)


@pytest.mark.parametrize("units", [40, 150])
@pytest.mark.parametrize("name", ["f1", "source_mean", "pair_accuracy"])
def test_intervals_hold_the_true_value(name, units):
    """In .95 of data sets, give or take; pictures differ in how hard they are."""
    rng = np.random.default_rng(units)
    held, truth = [], _drawn(name, rng, 40_000).estimate
    for _ in range(400):
        _, low, high = _drawn(name, rng, units).interval()
        held.append(low <= truth <= high)
    assert 0.92 <= np.mean(held) <= 0.99


@pytest.mark.parametrize("name", ["accuracy", "f1"])
def test_differences_are_covered_and_tests_keep_their_level(name):
    rng = np.random.default_rng(5)
    held, p = [], []
    for _ in range(300):
        one, other = _pair(name, rng, 60)
        _, low, high = difference(one, other)
        held.append(low <= 0 <= high)
        p.append(low > 0 or high < 0)
    assert 0.92 <= np.mean(held) <= 0.99
    assert np.mean(p) <= 0.08


def _drawn(name, rng, units):
    hard = rng.random(units)
    which = np.repeat(np.arange(units), 2)
    gold = np.where(rng.random(2 * units) < 0.5, "yes", "no")
    right = rng.random(2 * units) < 0.4 + 0.5 * hard[which]
    said = np.where(right, gold, np.where(gold == "yes", "no", "yes"))
    source = np.where(np.arange(units) % 5, "COCO", "ADE20K")[which]
    groups = {"pair": which, "source": source, "type": np.array(["2D"] * 2 * units)}
    return of(name, right, which, said, gold, **groups)


def _pair(name, rng, units):
    hard, which = rng.random(units), np.repeat(np.arange(units), 2)
    gold = np.where(rng.random(2 * units) < 0.5, "yes", "no")
    made = []
    for _ in range(2):
        right = rng.random(2 * units) < 0.3 + 0.6 * hard[which]
        made.append(
            of(
                name,
                right,
                which,
                np.where(right, gold, np.where(gold == "yes", "no", "yes")),
                gold,
            )
        )
    return made


def test_a_difference_in_pairs_is_narrower_than_that_of_two_sets():
    rng = np.random.default_rng(2)
    hard = rng.random(200)
    one, other = (rng.random(200) < 0.05 + 0.9 * (hard > 0.4) for _ in range(2))
    a, b = of("accuracy", one, np.arange(200)), of("accuracy", other, np.arange(200))
    d, low, high = difference(a, b)
    assert d == pytest.approx(one.mean() - other.mean())
    mixed = of("accuracy", rng.permutation(other), np.arange(200))
    _, least, most = difference(a, mixed)
    assert high - low < 0.6 * (most - least)


def test_two_that_agree_are_not_known_to_be_the_same():
    one = of("accuracy", [1, 0, 1, 1, 0, 1, 1, 1], np.arange(8))
    d, low, high = difference(one, one)
    assert d == 0 and -0.5 < low < -0.1 and high == -low
    _, low, high = difference(*(of("accuracy", np.tile([1, 0, 1, 1], 500), np.arange(2000)),) * 2)
    assert high < 0.01


def test_the_exchange_of_single_answers_is_mcnemars():
    rng = np.random.default_rng(3)
    one, other = rng.random(12) < 0.8, rng.random(12) < 0.4
    lost, gained = int((one & ~other).sum()), int((~one & other).sum())
    p = exchanged_p(of("accuracy", one, np.arange(12)), of("accuracy", other, np.arange(12)))
    assert p == pytest.approx(stats.binomtest(lost, lost + gained).pvalue)
    big = [of("accuracy", rng.random(300) < share, np.arange(300)) for share in (0.8, 0.6)]
    assert exchanged_p(*big) < 0.001
    assert exchanged_p(big[0], big[0]) == 1.0


def test_one_unit_says_nothing_of_how_far_it_varies():
    value, low, high = of("accuracy", [1, 0, 1], [0, 0, 0]).interval()
    assert value == pytest.approx(2 / 3) and np.isnan(low) and np.isnan(high)
