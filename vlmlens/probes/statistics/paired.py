"""Two conditions on the same samples: a permutation test, and McNemar's flips."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats


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


@dataclass(frozen=True)
class Flips:
    """Answers that changed between two conditions.

    Attributes:
        lost: right before, wrong after.
        gained: wrong before, right after.
        p: McNemar's exact two-sided p of the null that a flip goes either way alike.
    """

    lost: int
    gained: int
    p: float


def flips(before: Float[np.ndarray, " sample"], after: Float[np.ndarray, " sample"]) -> Flips:
    """Which answers flipped, and McNemar's exact test of it.

    Samples that are right or wrong in both conditions say nothing about the difference; of the
    others, under the null, each is lost or gained with probability 1/2, so p is binomial. With no
    flips p is 1.

    Args:
        before: 0 or 1.
        after: 0 or 1, of the same samples in the same order.

    Source: McNemar 1947, "Note on the sampling error of the difference between correlated
    proportions or percentages".
    """
    lost, gained = (
        int(((before > 0) & (after <= 0)).sum()),
        int(((before <= 0) & (after > 0)).sum()),
    )
    p = stats.binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    return Flips(lost, gained, float(p))
