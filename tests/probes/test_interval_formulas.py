"""Ends of intervals, against the docstrings' formulas written out for one cell and plain values."""

import numpy as np
import pytest
from scipy import stats

from vlmlens.estimates import FEW, ratio_interval, share_interval
from vlmlens.probes.statistics import bootstrap


def beyond(x, y, r):
    """The larger of t and Hall's t of the mean of x - r y, over Student's quantile."""
    e, n = x - r * y, len(x)
    limit = stats.t.isf(0.025, n - 1)
    t = stats.ttest_1samp(e, 0).statistic
    a = stats.skew(e, bias=False) / np.sqrt(n)
    a = (1 + 4 / n) * a / (1 - a**2) if n >= FEW else 0.0
    a = np.clip(a, -9 / (8 * limit), 9 / (8 * limit))
    return np.abs([t, t + a * t**2 / 3 + a**2 * t**3 / 27]) / limit


@pytest.mark.parametrize("n", [4, 5, 9, 40])
@pytest.mark.parametrize("divided", [False, True])
def test_a_ratio_ends_where_both_its_tests_reject(n, divided):
    rng = np.random.default_rng(n)
    x = rng.exponential(size=(n, 6))
    y = 1 + rng.random((n, 6)) if divided else np.ones((n, 6))
    ratio, low, high = ratio_interval(x, y, np.ones((n, 6), dtype=bool))
    np.testing.assert_allclose(ratio, x.mean(0) / y.mean(0))
    for cell in range(6):
        width = high[cell] - low[cell]
        for end, outwards in ((low[cell], -1e-6), (high[cell], 1e-6)):
            inside, outside = (
                beyond(x[:, cell], y[:, cell], end + way * outwards * width) for way in (-1, 1)
            )
            assert inside.min() < 1 < outside.min()


def test_units_without_a_value_do_not_count():
    rng = np.random.default_rng(0)
    x, known = rng.exponential(size=(12, 1)), np.arange(12)[:, None] < 9
    some = ratio_interval(np.where(known, x, 0), known.astype(float), known)
    alone = ratio_interval(x[:9], np.ones((9, 1)), np.ones((9, 1), dtype=bool))
    np.testing.assert_allclose(some, alone)


def wilson_of_units(right, count):
    """``share_interval`` of one cell, unit by unit."""
    total, units = count.sum(), len(count)
    p = right.sum() / total
    without = np.array(
        [(right.sum() - right[i]) / (total - count[i]) for i in range(units)]
    )  # each unit left out
    variance = (units - 1) / units * ((without - without.mean()) ** 2).sum()
    kish = total**2 / (count**2).sum()
    n = min(p * (1 - p) / variance, total) if variance > 1e-12 else min(kish, total)
    z = stats.t.isf(0.025, kish - 1)
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return p, max(middle - half, 0.0), min(middle + half, 1.0)


@pytest.mark.parametrize(
    ("right", "count"),
    [
        ([1, 0, 1, 1, 0, 1], [1, 1, 1, 1, 1, 1]),
        ([3, 0, 2, 4, 1], [4, 4, 4, 4, 4]),
        ([1, 0, 7, 2], [1, 5, 8, 3]),  # pictures of unequal size
        ([1, 2, 1, 2], [2, 4, 2, 4]),  # all agree: as many answers as Kish's units
        ([3, 2, 3, 2], [5, 4, 5, 4]),  # more alike than by chance: no more answers than there are
    ],
)
def test_a_share_has_wilsons_interval_of_as_many_answers_as_vary_so(right, count):
    right, count = np.array(right, dtype=float), np.array(count, dtype=float)
    found = share_interval(right[:, None], count[:, None])[:, 0]
    np.testing.assert_allclose(found, wilson_of_units(right, count), atol=1e-9)


SKEWED = np.random.default_rng(3).exponential(size=30)


@pytest.mark.parametrize("x", [SKEWED[:8], SKEWED, np.repeat([0.0, 1.0], [6, 14])])
def test_a_bootstrap_is_efrons_with_students_quantile(x):
    """The same resamples, ends by scipy, at the level that makes its quantile ours."""
    n = len(x)
    reach = stats.t.isf(0.025, n - 1) * np.sqrt(n / (n - 1))
    other = stats.bootstrap(
        (x,),
        np.mean,
        n_resamples=3000,
        confidence_level=2 * stats.norm.cdf(reach) - 1,
        rng=np.random.default_rng(7),
    ).confidence_interval
    found = bootstrap(np.mean, x, seed=7, resamples=3000)
    assert found == pytest.approx((other.low, other.high), rel=1e-6)
