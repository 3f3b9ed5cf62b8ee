"""Intervals and tests, by scipy."""

import warnings
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy import stats

LEVEL = 0.95


def bootstrap(
    statistic: Callable[..., np.ndarray],
    *columns: Float[np.ndarray, " sample"],
    seed: int = 0,
    resamples: int = 2000,
) -> tuple[float, float]:
    """95 % percentile bootstrap interval; samples are drawn whole, so columns stay paired.

    Resamples in which the statistic is undefined (a ratio to no right answers) are left out.

    Args:
        statistic: of the columns and ``axis``, vectorised.
        columns: one value a sample each.
        seed: of the resampling.
        resamples: how many.

    Returns:
        Low and high; NaN for fewer than two samples.
    """
    if len(columns[0]) < 2:
        return float("nan"), float("nan")
    with warnings.catch_warnings():
        # A statistic that never varies has an interval of no width, which scipy warns of.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        found = stats.bootstrap(
            columns,
            statistic,
            paired=len(columns) > 1,
            n_resamples=resamples,
            confidence_level=LEVEL,
            method="percentile",
            rng=np.random.default_rng(seed),
        )
        tails = (50 * (1 - LEVEL), 50 * (1 + LEVEL))
        # Not scipy's own interval, which one undefined resample makes NaN altogether.
        low, high = np.nanpercentile(found.bootstrap_distribution, tails)
    return float(low), float(high)


def proportion_interval(right: int, n: int) -> tuple[float, float]:
    """95 % Wilson interval of a proportion; NaN for no samples."""
    if n == 0:
        return float("nan"), float("nan")
    found = stats.binomtest(right, n).proportion_ci(LEVEL, method="wilson")
    return float(found.low), float(found.high)


def paired_p(
    a: Float[np.ndarray, " sample"], b: Float[np.ndarray, " sample"], *, seed: int = 0
) -> float:
    """Two-sided permutation p of the null that a and b may change places within each sample.

    Exact where all 2^n exchanges fit into 9999, else Monte Carlo with the +1 correction.
    """
    if len(a) < 2 or np.array_equal(a, b):
        return 1.0
    return float(
        stats.permutation_test(
            (a, b),
            lambda x, y, axis: np.mean(x - y, axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=9999,
            batch=500,
            rng=np.random.default_rng(seed),
        ).pvalue
    )
