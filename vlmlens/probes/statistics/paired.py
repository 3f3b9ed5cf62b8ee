"""Conditions on the same samples: a permutation test, and McNemar's flips."""

import itertools
from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from scipy import stats

from vlmlens.errors import InputError
from vlmlens.probes.statistics.columns import Column, columns, drawn, matched, numbers, paired

DRAWS = 9999
#: Numbers that are held at once.
HELD = 5_000_000


def paired_p(a: Column, b: Column, *, seed: int = 0) -> float:
    """Two-sided permutation p of the null that a and b may change places within each sample.

    Exact where all 2^n exchanges fit into 9999, else Monte Carlo with the +1 correction. The
    smallest p of n pairs is 2 / 2^n. Labelled arrays are of the same samples; those that share a
    picture, where the coordinate ``picture`` says so, change places together. NaN is left out.

    Raises:
        InputError: unlike lengths, other samples, infinite values, more than one dimension.

    Examples:
        >>> from vlmlens.probes.statistics import paired_p
        >>> paired_p(np.array([2.0, 3.0, 4.0, 5.0]), np.array([1.0, 1.0, 1.0, 1.0]))  # 2 of 2^4
        0.125
    """
    one, other = columns({"a": a, "b": b})
    return _exchanged(np.stack([one, other], 1), seed)


def exchange_p(
    one: Column, others: Float[np.ndarray, "unit condition"] | xr.DataArray, *, seed: int = 0
) -> float:
    """Two-sided permutation p of the null that ``one`` condition is like every other.

    Under it, within each unit, any of the conditions may be the ``one``. The statistic is the sum
    over units of what ``one`` has more than the mean of all conditions. With one other condition
    these are changes of sign; with several they are not, since a condition and the mean of the
    others differ in shape. Exact where all choices fit into 9999, else Monte Carlo with the +1
    correction; 1 for fewer than two units. Labelled arrays, and NaN, are as in ``paired_p``.

    Raises:
        InputError: as ``paired_p``; others that are not (unit, condition).

    Examples:
        >>> from vlmlens.probes.statistics import exchange_p
        >>> intact, shuffled = np.ones(6), np.zeros((6, 2))
        >>> round(exchange_p(intact, shuffled), 4)  # twice 1 of 3^6 choices
        0.0027
    """
    if np.ndim(others) != 2:
        raise InputError(f"others are (unit, condition), not of the shape {np.shape(others)}")
    if isinstance(others, xr.DataArray):
        along = one.dims[0] if isinstance(one, xr.DataArray) and one.ndim else others.dims[0]
        if along not in others.dims:
            raise InputError(
                f"one lies along {along}, and others along {', '.join(map(str, others.dims))}"
            )
        others = others.transpose(along, ...)
    else:
        others = numbers(others, "others")
    each = {f"others[:, {at}]": others[:, at] for at in range(np.shape(others)[1])}
    return _exchanged(np.stack(columns({"one": one} | each), 1), seed)


def _exchanged(x: Float[np.ndarray, "unit condition"], seed: int) -> float:
    """The p of ``exchange_p``, of the first condition."""
    x = x - x.mean(1, keepdims=True)
    units, conditions = x.shape
    if units < 2 or np.allclose(x, 0, atol=1e-12):
        return 1.0
    if units * np.log(conditions) <= np.log(DRAWS):
        every = np.array(list(itertools.product(range(conditions), repeat=units)))
        return _two_sided(*_beyond(x, every), len(every))
    rng = np.random.default_rng(seed)
    below, above, step = 1, 1, max(1, HELD // units)  # the data themselves are one choice
    for start in range(0, DRAWS, step):
        drawn = rng.integers(0, conditions, (min(step, DRAWS - start), units))
        less, more = _beyond(x, drawn)
        below, above = below + less, above + more
    return _two_sided(below, above, DRAWS + 1)


def _beyond(
    x: Float[np.ndarray, "unit condition"], which: Int[np.ndarray, "draw unit"]
) -> tuple[int, int]:
    """How many choices of a condition in every unit have a sum as low as the first, and as high."""
    sums, seen = x[np.arange(len(x)), which].sum(1), x[:, 0].sum()
    slack = 1e-9 * (1 + abs(seen))
    return int((sums <= seen + slack).sum()), int((sums >= seen - slack).sum())


def _two_sided(below: int, above: int, total: int) -> float:
    return min(1.0, 2 * min(below, above) / total)


@dataclass(frozen=True)
class Flips:
    """Answers that changed between two conditions.

    Attributes:
        lost: right before, wrong after.
        gained: wrong before, right after.
        p: exact two-sided p of the null that a flip goes either way alike.

    Examples:
        >>> from vlmlens.probes.statistics import flips
        >>> flips(np.array([1.0, 1.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0, 0.0]))
        Flips(lost=2, gained=0, p=0.5)
    """

    lost: int
    gained: int
    p: float


def flips(
    before: Column,
    after: Column,
    *,
    unit: Int[np.ndarray, " sample"] | xr.DataArray | None = None,
    seed: int = 0,
) -> Flips:
    """Which answers flipped, and McNemar's exact test of it.

    Samples that are right or wrong in both conditions say nothing about the difference; of the
    others, under the null, each is lost or gained with probability 1/2, so p is binomial. With no
    flips p is 1. Where several samples share a unit (a picture), the conditions change places for
    whole units: ``paired_p`` of their sums.

    Args:
        before: 0 or 1, or False and True; a sample with NaN is left out.
        after: 0 or 1, of the same samples in the same order.
        unit: which unit every sample belongs to, counted from 0; by default its own, or
            its picture, where labelled arrays have the coordinate ``picture``.
        seed: of the exchanges of units, where they are drawn.

    Raises:
        InputError: unlike lengths, other samples, infinite values, more than one dimension.

    Source: McNemar 1947, "Note on the sampling error of the difference between correlated
    proportions or percentages".

    Examples:
        >>> from vlmlens.probes.statistics import flips
        >>> found = flips(np.array([1.0, 1.0, 1.0, 0.0]), np.array([0.0, 0.0, 0.0, 1.0]))
        >>> found.lost, found.gained, found.p
        (3, 1, 0.625)
    """
    given = {"before": before, "after": after}
    rows, known = paired(given)
    unit = drawn(given) if unit is None else np.asarray(unit)
    if unit is not None:
        matched({"before": len(known), "unit": len(unit)}, {})
        _, unit = np.unique(unit[known], return_inverse=True)
    was, remains = rows[:, known] > 0
    lost, gained = int((was & ~remains).sum()), int((~was & remains).sum())
    if unit is not None and len(np.unique(unit)) < len(unit):
        sums = [np.bincount(unit, weights=x.astype(float)) for x in (was, remains)]
        return Flips(lost, gained, paired_p(sums[0], sums[1], seed=seed))
    p = stats.binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    return Flips(lost, gained, float(p))
