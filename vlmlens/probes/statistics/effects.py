"""Effect sizes, and how many samples an effect takes to be seen."""

import math

import numpy as np
from jaxtyping import Float
from scipy import stats
from scipy.optimize import root_scalar

from vlmlens.errors import InputError
from vlmlens.estimates import LEVEL
from vlmlens.probes.statistics.columns import Column, columns

ALPHA = 1 - LEVEL


def cohens_d(a: Column, b: Column) -> float:
    """Cohen's d of paired values: mean(a - b) / sd(a - b). 0: no difference; 0.8 is called large.

    NaN where the difference does not vary, or for fewer than two samples. Labelled arrays are of
    the same samples, which count by picture where they say so (their mean); NaN is left out.

    Raises:
        InputError: unlike lengths, other samples, infinite values, more than one dimension.

    Examples:
        >>> from vlmlens.probes.statistics import cohens_d
        >>> cohens_d(np.array([3.0, 5.0, 4.0]), np.array([1.0, 2.0, 3.0]))
        2.0
    """
    one, other = columns({"a": a, "b": b}, mean=True)
    d = one - other
    if len(d) < 2 or np.ptp(d) == 0:
        return float("nan")
    return float(d.mean() / d.std(ddof=1))


def rank_biserial(a: Column, b: Column) -> float:
    """Matched-pairs rank-biserial correlation: -1 to 1, where 1 means that a is always larger.

    Ranks of |a - b| that speak for a, less those that speak for b, over all of them; ties at 0
    are left out. NaN where every pair is tied. Labelled arrays are as in ``cohens_d``.

    Raises:
        InputError: as ``cohens_d``.

    Source: Kerby 2014, "The simple difference formula".

    Examples:
        >>> from vlmlens.probes.statistics import rank_biserial
        >>> round(rank_biserial(np.array([3.0, 5.0, 4.0]), np.array([1.0, 2.0, 5.0])), 2)
        0.67
    """
    one, other = columns({"a": a, "b": b}, mean=True)
    d = one - other
    d = d[d != 0]
    if not len(d):
        return float("nan")
    ranks = stats.rankdata(np.abs(d))
    return float((ranks[d > 0].sum() - ranks[d < 0].sum()) / ranks.sum())


def flip_odds(lost: int, gained: int) -> float:
    """Odds that a flipped answer was lost, lost / gained; 1: either way alike.

    Infinite where none was gained, NaN where none flipped.

    Examples:
        >>> from vlmlens.probes.statistics import flip_odds
        >>> flip_odds(lost=6, gained=2)
        3.0
    """
    if gained:
        return lost / gained
    return math.inf if lost else math.nan


def samples_for_effect(
    d: float, *, power: float = 0.8, alpha: float = ALPHA, design_effect: float = 1.0
) -> int:
    """Samples at which a two-sided paired t test sees an effect of Cohen's d with this power.

    The t of n samples, squared, is a noncentral F of 1 and n - 1 degrees of freedom. With t_n the
    critical value, the n at which this is the power, and 2 at least:

        power(n) = P(F(1, n - 1; n d^2) > t_n^2)

    Args:
        d: mean over standard deviation of the differences.
        power: probability of seeing it.
        alpha: of the two-sided test.
        design_effect: how many times as many samples it takes because several share a picture
            (``design_effect``).

    Raises:
        InputError: no effect, or a power, alpha or design effect that cannot be.

    Examples:
        >>> from vlmlens.probes.statistics import samples_for_effect
        >>> samples_for_effect(0.5)
        34
    """
    _check(power, alpha, design_effect)
    if d == 0:
        raise InputError("no number of samples shows an effect of 0")

    def short(n: float) -> float:
        least = stats.t.isf(alpha / 2, n - 1) ** 2
        return float(power - stats.ncf.sf(least, 1, n - 1, n * d**2))

    few = many = 2.0
    while short(many) > 0:
        few, many = many, 2 * many
    found = many if many == few else root_scalar(short, bracket=(few, many)).root
    return math.ceil(found * design_effect)


def samples_for_flips(
    lost: float,
    gained: float,
    *,
    power: float = 0.8,
    alpha: float = ALPHA,
    design_effect: float = 1.0,
) -> int:
    """Samples at which ``flips``, the exact test, sees that more answers are lost than gained.

    The least n from which on the power stays. Of n samples m flip, binomial of n and s = lost +
    gained; of these a number is lost, binomial of m and lost / s; and the test rejects where the
    binomial of m and 1/2 has two tails of no more than alpha:

        power(n) = sum over m of P(m flips) P(rejected | m flips)

    Args:
        lost: expected share of samples that turn from right to wrong.
        gained: expected share that turn from wrong to right.
        power: probability of seeing it.
        alpha: of the two-sided test.
        design_effect: how many times as many samples it takes because several share a picture
            (``design_effect``).

    Raises:
        InputError: shares that are no shares or do not differ, or a design effect below 1.

    Source: Duffy 1984, "Asymptotic and exact power for the McNemar test and its analogue with R
    controls per case"; the search starts at Connor 1987.

    Examples:
        >>> from vlmlens.probes.statistics import samples_for_flips
        >>> samples_for_flips(lost=0.2, gained=0.05)
        92
    """
    _check(power, alpha, design_effect)
    total, gap = lost + gained, lost - gained
    if not (0 <= lost <= 1 and 0 <= gained <= 1 and total <= 1) or gap == 0:
        raise InputError(f"lost={lost}, gained={gained}: two different shares, together at most 1")
    z_a, z_b = stats.norm.isf(alpha / 2), stats.norm.ppf(power)
    spread = math.sqrt(max(total - gap**2, 0.0))
    start = max(1, math.ceil((z_a * math.sqrt(total) + z_b * spread) ** 2 / gap**2))
    farthest = math.ceil(1.5 * start) + 20
    rejected = _rejected(farthest, lost / total, alpha)
    flipped = np.arange(farthest + 1)

    def seen(n: int) -> float:
        return float(stats.binom.pmf(flipped[: n + 1], n, total) @ rejected[: n + 1])

    n = farthest
    while n > 1 and seen(n - 1) >= power:
        n -= 1
    return math.ceil(n * design_effect)


def _rejected(most: int, share: float, alpha: float) -> Float[np.ndarray, " flips"]:
    """Probability that the exact test rejects, for every number of flips up to ``most``."""
    flipped = np.arange(most + 1)
    # The largest number in the smaller tail that is still rejected, -1 for none.
    least = stats.binom.ppf(alpha / 2, flipped, 0.5)
    least = np.where(2 * stats.binom.cdf(least, flipped, 0.5) <= alpha, least, least - 1)
    above = stats.binom.sf(flipped - least - 1, flipped, share)
    found = stats.binom.cdf(least, flipped, share) + above
    return np.where(least < 0, 0.0, found)


def design_effect(questions: float | int, correlation: float | int) -> float:
    """How many times as many samples it takes when pictures are asked several questions.

        1 + (questions - 1) correlation

    Args:
        questions: about one picture; where they differ in number, sum c^2 / sum c.
        correlation: of what is measured, between two questions about one picture: 0 to 1.

    Raises:
        InputError: less than one question, or a correlation outside 0 to 1.

    Source: Kish 1965, "Survey Sampling".

    Examples:
        >>> from vlmlens.probes.statistics import design_effect
        >>> design_effect(questions=5, correlation=0.25)
        2.0
    """
    if questions < 1 or not 0 <= correlation <= 1:
        raise InputError(
            f"questions={questions}, correlation={correlation}: at least 1, and from 0 to 1"
        )
    return 1 + (questions - 1) * correlation


def samples_for_width(half_width: float, *, p: float = 0.5, design_effect: float = 1.0) -> int:
    """Samples at which an accuracy near p has a 95 % interval of this half width: z^2 p(1-p) / w^2.

    Args:
        half_width: in the accuracy's units, between 0 and 1.
        p: the accuracy.
        design_effect: how many times as many samples it takes because several share a picture
            (``design_effect``).

    Raises:
        InputError: a half width that is not between 0 and 1, a p outside 0 to 1, or a design
            effect below 1.

    Examples:
        >>> from vlmlens.probes.statistics import samples_for_width
        >>> samples_for_width(0.05)
        385
    """
    _check(0.5, 0.5, design_effect)
    if not (0 < half_width < 1 and 0 < p < 1):
        raise InputError(f"half_width={half_width}, p={p}: both lie between 0 and 1")
    needed = stats.norm.isf(ALPHA / 2) ** 2 * p * (1 - p) / half_width**2
    return math.ceil(needed * design_effect)


def _check(power: float, alpha: float, design_effect: float) -> None:
    if not (0 < power < 1 and 0 < alpha < 1):
        raise InputError(f"power={power}, alpha={alpha}: both lie between 0 and 1")
    if not 1 <= design_effect < math.inf:
        raise InputError(f"design_effect={design_effect}: 1 at least")
