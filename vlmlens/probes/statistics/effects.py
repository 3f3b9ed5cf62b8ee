"""Effect sizes, and how many samples an effect takes to be seen."""

import math

import numpy as np
from jaxtyping import Float
from scipy import stats

from vlmlens.errors import InputError
from vlmlens.probes.statistics.intervals import LEVEL

ALPHA = 1 - LEVEL


def cohens_d(a: Float[np.ndarray, " sample"], b: Float[np.ndarray, " sample"]) -> float:
    """Cohen's d of paired values: mean(a - b) / sd(a - b). 0: no difference; 0.8 is called large.

    NaN where the difference does not vary, or for fewer than two samples.
    """
    d = a - b
    if len(d) < 2 or np.ptp(d) == 0:
        return float("nan")
    return float(d.mean() / d.std(ddof=1))


def rank_biserial(a: Float[np.ndarray, " sample"], b: Float[np.ndarray, " sample"]) -> float:
    """Matched-pairs rank-biserial correlation: -1 to 1, where 1 means that a is always larger.

    Ranks of |a - b| that speak for a, less those that speak for b, over all of them; ties at 0
    are left out. NaN where every pair is tied.

    Source: Kerby 2014, "The simple difference formula".
    """
    d = a - b
    d = d[d != 0]
    if not len(d):
        return float("nan")
    ranks = stats.rankdata(np.abs(d))
    return float((ranks[d > 0].sum() - ranks[d < 0].sum()) / ranks.sum())


def flip_odds(lost: int, gained: int) -> float:
    """Odds that a flipped answer was lost, lost / gained; 1: either way alike.

    Infinite where none was gained, NaN where none flipped.
    """
    if gained:
        return lost / gained
    return math.inf if lost else math.nan


def samples_for_effect(d: float, *, power: float = 0.8, alpha: float = ALPHA) -> int:
    """Samples at which a two-sided paired t test sees an effect of Cohen's d with this power.

    Raises:
        InputError: no effect, or a power or alpha outside 0 to 1.
    """
    _check(power, alpha)
    if d == 0:
        raise InputError("no number of samples shows an effect of 0")
    from statsmodels.stats.power import TTestPower  # takes seconds to import

    found = TTestPower().solve_power(abs(d), power=power, alpha=alpha, alternative="two-sided")
    return math.ceil(float(np.squeeze(found)))


def samples_for_flips(
    lost: float, gained: float, *, power: float = 0.8, alpha: float = ALPHA
) -> int:
    """Samples at which McNemar's test sees that more answers are lost than gained.

    n = (z_a sqrt(s) + z_b sqrt(s - d^2))^2 / d^2, with s = lost + gained and d = lost - gained.

    Args:
        lost: expected share of samples that turn from right to wrong.
        gained: expected share that turn from wrong to right.
        power: probability of seeing it.
        alpha: of the two-sided test.

    Raises:
        InputError: shares that are no shares or do not differ.

    Source: Connor 1987, "Sample size for testing differences in proportions for the
    paired-sample design".
    """
    _check(power, alpha)
    total, gap = lost + gained, lost - gained
    if not (0 <= lost <= 1 and 0 <= gained <= 1 and total <= 1) or gap == 0:
        raise InputError(f"lost={lost}, gained={gained}: two different shares, together at most 1")
    z_a, z_b = stats.norm.isf(alpha / 2), stats.norm.ppf(power)
    return math.ceil((z_a * math.sqrt(total) + z_b * math.sqrt(total - gap**2)) ** 2 / gap**2)


def samples_for_width(half_width: float, *, p: float = 0.5) -> int:
    """Samples at which an accuracy near p has a 95 % interval of this half width: z^2 p(1-p) / w^2.

    Raises:
        InputError: a half width that is not between 0 and 1, or a p outside 0 to 1.
    """
    if not (0 < half_width < 1 and 0 < p < 1):
        raise InputError(f"half_width={half_width}, p={p}: both lie between 0 and 1")
    return math.ceil(stats.norm.isf(ALPHA / 2) ** 2 * p * (1 - p) / half_width**2)


def _check(power: float, alpha: float) -> None:
    if not (0 < power < 1 and 0 < alpha < 1):
        raise InputError(f"power={power}, alpha={alpha}: both lie between 0 and 1")
