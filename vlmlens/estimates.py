"""Means, shares and ratios with intervals that hold for few, skewed and clustered draws.

Everything here is of plain arrays (unit, cell): a unit is what is drawn at random, a sample or
the picture that several samples are about.
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

LEVEL = 0.95
#: Below so many units an interval is Student's alone, since skewness cannot be told: say so.
FEW = 5
#: Few draws show too little of a long tail: for a test of many cells, which looks far out, their
#: skewness is taken for this many times as large; for an interval see ``feared``.
CAUTION_FAR = 1.5
#: Below so many units the interval of a skewed mean may be too narrow: say so (``beware``).
ENOUGH = 12
#: Doublings of the distance from the estimate within which the end of an interval is looked for.
REACH, STEPS = 16, 40

Units = Float[np.ndarray, "unit cell"]
Cells = Float[np.ndarray, " cell"]


def student(
    n, first, second, third, caution: float = 1.0
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """Student's t of sums of powers of n values each, and a = caution x skewness / sqrt(n).

    t is 0 where all values are 0, and infinite where they are equal and not 0. Without caution a
    is between -1 and 1, which n - 1 equal values and one other have.
    """
    mean = first / n
    spread = np.maximum(second - n * mean**2, 0.0)
    steady = spread <= 1e-12 * second
    variance = np.where(steady, 1.0, spread / n)
    cube = third / n - 3 * mean * second / n + 2 * mean**3
    unbiased = np.sqrt(n * (n - 1.0)) / np.maximum(n - 2, 1) * (n > 2)
    a = np.where(steady, 0.0, caution * unbiased * cube / variance**1.5 / np.sqrt(n))
    t = mean / np.sqrt(variance / np.maximum(n - 1, 1))
    return np.where(steady, np.where(mean == 0, 0.0, np.copysign(np.inf, mean)), t), a


def hall(t, a):
    """Hall's transformation of a t, which takes out its skewness: t + a t^2/3 + a^2 t^3/27.

    Source: Hall 1992, "On the removal of skewness by transformation".
    """
    small = np.abs(a) < 1e-7
    with np.errstate(invalid="ignore"):
        bent = ((1 + a * t / 3) ** 3 - 1) / np.where(small, 1.0, a)
    return np.where(small | np.isinf(t), t, bent)


def feared(a, n, limit):
    """The a that an interval reckons with, for the one that its n values show (``student``).

        (1 + 4 / n) a / (1 - a^2), in size at most 9 / (8 limit)

    The nearer a is to 1, the most that n values can show, the less it says of the tail behind it.
    At the bound Hall's transformation reaches farthest, four times as far as t itself; a greater a
    would bring it back. 0 below ``FEW`` values, whose skewness says nothing.
    """
    with np.errstate(divide="ignore"):
        more = (1 + 4 / n) * a / np.maximum(1 - a**2, 0.0)
    return np.clip(np.where((a == 0) | (n < FEW), 0.0, more), -9 / (8 * limit), 9 / (8 * limit))


def beware(unit: str, count: int) -> str:
    """What to say of an interval of a mean over so few units; nothing where they are enough."""
    if count >= ENOUGH:
        return ""
    if count < 2:
        return f"only {count} {unit}: how far means vary cannot be told, so there is no interval"
    if count < FEW:
        return (
            f"only {count} {unit}s: such intervals hold for values that are spread about evenly to "
            f"both sides; {FEW} {unit}s at least for others"
        )
    return (
        f"only {count} {unit}s: of strongly skewed values, as lognormal ones, such intervals of "
        f"means hold the true one in .91 to .94 of cases, not in .95; {ENOUGH} {unit}s or more"
    )


def cautious_t(n, first, second, third) -> Float[np.ndarray, "..."]:
    """The smaller of t and Hall's, in size, with t's sign: what a test should believe.

    Of sums of powers of n values each, as ``student``.

    Where t lies beyond the point at which Hall's transformation bends back, as it does for a
    cell whose rare large values are not in the data, no more than what that point gives counts.
    """
    t, a = student(n, first, second, third, CAUTION_FAR)
    with np.errstate(divide="ignore", invalid="ignore"):
        held = np.where(a * t < -3, -3 / np.where(a == 0, 1.0, a), t)
    return np.sign(t) * np.minimum(np.abs(t), np.abs(hall(held, a)))


def ratio_interval(
    x: Units, y: Units, known: Bool[np.ndarray, "unit cell"]
) -> Float[np.ndarray, "3 cell"]:
    """Ratios sum(x) / sum(y) over units and their 95 % intervals: (3, cell).

    An interval holds every r at which t or Hall's (with ``feared``) of the mean of x - r y, over
    units, does not exceed Student's quantile (Fieller's way, which needs no variance of a ratio).
    y = 1 makes it an interval of the mean. No width where x - r y is 0 for every unit; NaN for
    fewer than two units, and where no r is far enough (y itself may be 0).

    Args:
        x: one value a unit.
        y: the same.
        known: which units have a value; the others hold 0 in x and y.
    """
    n = known.sum(0).astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = x.sum(0) / y.sum(0)
        e = np.where(known, x - np.where(np.isfinite(ratio), ratio, 0.0) * y, 0.0)
        e[np.abs(e) <= 1e-12 * np.abs(x).max(0, initial=0.0)] = 0.0
        powers = [(e**i * y**j).sum(0) for i, j in POWERS]
        few = (n < 2) | ~np.isfinite(ratio)
        n = np.where(few, 2.0, n)
        limit = stats.t.isf((1 - LEVEL) / 2, n - 1)
        unit = np.sqrt(powers[2] / (n - 1) * n) / np.abs(y.sum(0))
        ends = [ratio + unit * _farthest(side, unit, n, powers, limit) for side in (-1.0, 1.0)]
        ends = [np.where(unit == 0, ratio, end) for end in ends]
    bad = few | ~np.isfinite(ends[0]) | ~np.isfinite(ends[1])
    low, high = (np.where(bad, np.nan, end) for end in ends)
    return np.stack([np.where(np.isfinite(ratio), ratio, np.nan), low, high])


#: Sums of e^i y^j that the powers of e - d y are made of, for any d.
POWERS = ((0, 1), (0, 2), (2, 0), (1, 1), (0, 3), (1, 2), (2, 1), (3, 0))


def _farthest(
    side: float, unit: Cells, n: Cells, powers: list[Float[np.ndarray, " cell"]], limit: Cells
) -> Cells:
    """How many ``unit`` from the estimate t and Hall's have both passed the limit."""
    y, yy, ee, ey, yyy, eyy, eey, eee = powers

    def sizes(steps: Cells) -> tuple[Cells, Cells]:
        d = side * steps * unit
        first, second = -d * y, ee - 2 * d * ey + d**2 * yy
        t, a = student(n, first, second, eee - 3 * d * eey + 3 * d**2 * eyy - d**3 * yyy)
        return np.abs(t), np.abs(hall(t, feared(a, n, limit)))

    ends = []
    for which in (0, 1):
        inside, outside = np.zeros(n.shape), np.ones(n.shape)
        for _ in range(REACH):
            within = sizes(outside)[which] <= limit
            inside, outside = np.where(within, outside, inside), outside * (1.0 + within)
        never = sizes(outside)[which] <= limit
        for _ in range(STEPS):
            middle = (inside + outside) / 2
            within = sizes(middle)[which] <= limit
            inside, outside = np.where(within, middle, inside), np.where(within, outside, middle)
        ends.append(np.where(never, np.inf, outside))
    by_t, by_hall = ends
    # Where y varies, Hall's may stay within the limit for ever although t does not.
    return side * np.where(np.isinf(by_hall), by_t, np.maximum(by_t, by_hall))


def share_interval(right: Units, count: Units) -> Float[np.ndarray, "3 cell"]:
    """Shares sum(right) / sum(count) of answers and their 95 % intervals: (3, cell).

    Wilson's interval of a share p, with two changes for units of several answers:

        n = p (1 - p) / variance, the number of independent answers that would vary as much
        z = Student's quantile, for one less than Kish's number of units, (sum c)^2 / sum c^2

    The variance leaves each unit out in turn; n is at most the number of answers, and Kish's
    number where all units agree. NaN for fewer than two units.

    Source: Wilson 1927; Kish 1965, "Survey Sampling"; Dean and Pagano 2015, "Evaluating
    confidence interval methods for binomial proportions in clustered surveys".
    """
    total, units = count.sum(0), (count > 0).sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = right.sum(0) / total
        without = np.where(count > 0, (right.sum(0) - right) / (total - count), p)
        shift = np.where(count > 0, without - (without.sum(0) - p * (count <= 0).sum(0)) / units, 0)
        variance = (units - 1) / units * (shift**2).sum(0)
        kish = total**2 / (count**2).sum(0)
        low, high = wilson(p, variance, total, kish)
    return np.stack([p, np.where(units < 2, np.nan, low), np.where(units < 2, np.nan, high)])


def wilson(p, variance, total, kish) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """Both ends of Wilson's 95 % interval of a share, with an effective number of answers.

    Args:
        p: the share.
        variance: of it.
        total: how many answers it is of.
        kish: Kish's number of units that they come from.
    """
    spread = p * (1 - p)
    agree = (variance <= 1e-12) | (spread <= 1e-12)
    n = np.minimum(np.where(agree, kish, spread / np.where(agree, 1.0, variance)), total)
    z = stats.t.isf((1 - LEVEL) / 2, np.maximum(kish - 1, 1e-3))
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(np.maximum(spread, 0.0) / n + z**2 / (4 * n**2))
    low, high = np.clip(middle - half, 0.0, 1.0), np.clip(middle + half, 0.0, 1.0)
    return np.minimum(low, p), np.maximum(high, p)  # rounding at 0 and 1


def mean_interval(
    sums: Units, counts: Units, *, shares: bool = False
) -> Float[np.ndarray, "3 cell"]:
    """Means of all values and their 95 % intervals, from sums and counts by unit: (3, cell).

    Args:
        sums: of a unit's values.
        counts: how many they are, 0 where there is none.
        shares: the values are answers, 0 or 1, or means of such: ``share_interval``.
    """
    if shares:
        return share_interval(sums, counts)
    return ratio_interval(sums, counts, counts > 0)


def are_answers(values: Float[np.ndarray, "..."]) -> bool:
    """Whether all there is are zeros and ones."""
    known = values[~np.isnan(values)]
    return bool(len(known)) and bool(np.isin(known, (0.0, 1.0)).all())
