"""Intervals and tests, against formulas and counts made by hand."""

import itertools

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from vlmlens.errors import InputError
from vlmlens.probes.statistics import bootstrap, mean_map, paired_p, proportion_interval


def mean(x, axis):
    return np.mean(x, axis=axis)


def difference(x, y, axis):
    return np.mean(x, axis=axis) - np.mean(y, axis=axis)


@pytest.mark.parametrize(("right", "n"), [(0, 10), (10, 10), (7, 10), (1, 3), (480, 500)])
def test_a_proportions_interval_is_wilsons(right, n):
    z = stats.norm.ppf(0.975)
    p = right / n
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert proportion_interval(right, n) == pytest.approx((middle - half, middle + half), abs=1e-9)
    found = stats.binomtest(right, n).proportion_ci(0.95, method="wilson")
    assert proportion_interval(right, n) == (found.low, found.high)


def test_nothing_has_no_interval():
    assert np.isnan(proportion_interval(0, 0)).all()
    assert np.isnan(bootstrap(mean, np.array([]))).all()
    assert np.isnan(bootstrap(mean, np.array([1.0]))).all()


def test_a_bootstrap_of_the_mean_is_near_the_textbooks():
    x = np.random.default_rng(0).normal(3, 2, 400)
    low, high = bootstrap(mean, x)
    half = 1.96 * x.std() / np.sqrt(len(x))
    assert (low, high) == pytest.approx((x.mean() - half, x.mean() + half), abs=0.05)


def test_what_never_varies_has_an_interval_of_no_width():
    assert bootstrap(mean, np.ones(5)) == (1.0, 1.0)


def test_resamples_in_which_nothing_is_defined_are_left_out():
    def ratio(x, y, axis):
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(mean(x, axis) > 0, mean(y, axis) / mean(x, axis), np.nan)

    x = np.array([1.0, 0.0, 0.0, 0.0])  # a third of the resamples hold no 1
    assert bootstrap(ratio, x, 0.5 * x) == (0.5, 0.5)
    assert np.isnan(bootstrap(ratio, np.zeros(4), x)).all()


def test_columns_are_drawn_together():
    x = np.random.default_rng(0).normal(0, 10, 50)
    low, high = bootstrap(difference, x + 1, x)
    assert (low, high) == pytest.approx((1.0, 1.0))  # each difference is 1, whoever is drawn
    low, high = bootstrap(difference, x + 1, x[::-1].copy())
    assert high - low > 1


def test_a_seed_decides():
    x = np.random.default_rng(0).normal(0, 1, 30)
    assert bootstrap(mean, x, seed=1) == bootstrap(mean, x, seed=1)
    assert bootstrap(mean, x, seed=1) != bootstrap(mean, x, seed=2)


def test_columns_that_are_the_same_may_change_places():
    x = np.array([1.0, 0.0, 1.0, 1.0])
    assert paired_p(x, x) == 1.0
    assert paired_p(x[:1], 1 - x[:1]) == 1.0  # one sample proves nothing


def by_counting(a, b):
    """Every exchange within samples, written down; those as extreme as what was seen."""
    d = np.array(a) - np.array(b)
    seen = abs(d.mean())
    means = [abs((d * signs).mean()) for signs in itertools.product([1, -1], repeat=len(d))]
    return np.mean([m >= seen - 1e-12 for m in means])


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([1, 1, 1], [0, 0, 0]),
        ([1, 1, 1, 1, 0], [0, 0, 0, 1, 1]),
        ([1, 0, 1, 0], [0, 1, 0, 1]),
        ([1, 1, 1, 1, 1, 0, 0, 1], [0, 0.5, 0, 1, 0.5, 0, 0, 0]),
    ],
)
def test_p_is_exact_for_few_samples(a, b):
    a, b = np.array(a, dtype=float), np.array(b, dtype=float)
    assert paired_p(a, b) == pytest.approx(min(1.0, by_counting(a, b)))
    assert paired_p(b, a) == pytest.approx(paired_p(a, b))  # two-sided


def test_p_of_three_samples_that_all_fall_is_two_in_eight():
    assert paired_p(np.ones(3), np.zeros(3)) == 2 / 8


def test_many_samples_are_drawn_from_and_p_is_never_zero():
    p = paired_p(np.ones(40), np.zeros(40))
    assert p == pytest.approx(2 / 10_000)
    rng = np.random.default_rng(0)
    null = [paired_p(*(rng.random((2, 40)) < 0.5).astype(float), seed=s) for s in range(12)]
    assert 0.2 < np.mean(null) < 0.9  # no effect, no small p


@pytest.mark.parametrize(
    "given", [(5, 3), (-1, 3), (float("nan"), 3), (1, -3), (1.5, 3), (1, None)]
)
def test_counts_that_cannot_be_are_refused(given):
    with pytest.raises(InputError, match=r"(right|n)=.* is wanted"):
        proportion_interval(*given)


def test_complex_numbers_have_no_interval():
    with pytest.raises(InputError, match="complex"):
        mean_map(xr.DataArray([1 + 2j, 2, 3], dims="sample"))
