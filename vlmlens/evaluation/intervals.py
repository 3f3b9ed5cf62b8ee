"""Intervals of metrics, and of differences between two, by what is drawn as one.

A metric is a function of sums over units (``datasets.benchmarks.metrics``). Leaving one unit out
after the other tells how far it varies.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped
from scipy import stats

from vlmlens.estimates import LEVEL, wilson

Value = Callable[[Float[np.ndarray, "*lead sum"]], Float[np.ndarray, "*lead"]]
#: How often units are exchanged where not all exchanges are tried; numbers that are held at once.
DRAWS, HELD = 9999, 4_000_000
METHOD = (
    "95 %: Wilson's with the effective number of answers (units left out in turn) and Student's "
    "quantile; differences: Newcombe's, of the two intervals and how the two vary together"
)


@dataclass(frozen=True, eq=False)
class Summed:
    """A metric of units: its sums over each, and what the units count.

    Attributes:
        units: sums over each unit's items.
        value: the metric, of sums.
        count: how many answers each unit has.
    """

    units: Float[np.ndarray, "unit sum"]
    value: Value
    count: Float[np.ndarray, " unit"]

    @property
    def estimate(self) -> float:
        """The metric of all units."""
        return float(self.value(self.units.sum(0)))

    def shifts(self) -> Float[np.ndarray, " unit"]:
        """What the metric becomes without each unit, about the mean of these; 0 where undefined."""
        without = self.value(self.units.sum(0) - self.units)
        known = ~np.isnan(without)
        centre = without[known].mean() if known.any() else 0.0
        return np.where(known, without - centre, 0.0)

    def interval(self) -> tuple[float, float, float]:
        """The metric and its 95 % interval; NaN for fewer than two units."""
        p, size = self.estimate, len(self.count)
        if size < 2 or np.isnan(p):
            return p, np.nan, np.nan
        variance = _product(self.shifts(), self.shifts())
        kish = self.count.sum() ** 2 / (self.count**2).sum()
        low, high = wilson(np.array([p]), np.array([variance]), self.count.sum(), kish)
        return p, float(low[0]), float(high[0])


def summed(
    rows: Float[np.ndarray, "item sum"],
    value: Value,
    which: Shaped[np.ndarray, " item"],
    *,
    answers: int = 1,
) -> Summed:
    """A metric's sums over each unit.

    Args:
        rows: what each item adds.
        value: the metric, of sums.
        which: unit of every item.
        answers: to every item, of which the rows are means.
    """
    names, which = np.unique(which, return_inverse=True)
    size = len(names)
    units = np.zeros((size, rows.shape[1]))
    np.add.at(units, which, rows)
    return Summed(units, value, answers * np.bincount(which, minlength=size).astype(float))


def difference(one: Summed, other: Summed) -> tuple[float, float, float]:
    """``one`` - ``other`` of the same units, and its 95 % interval.

    With d = p - q, intervals [l, u] of p and [m, v] of q, and r the correlation of what leaving a
    unit out does to both:

        low  = d - sqrt((p - l)^2 - 2 r (p - l) (v - q) + (v - q)^2)
        high = d + sqrt((u - p)^2 - 2 r (u - p) (q - m) + (q - m)^2)

    At least as wide as that of no answer of all that differs: two models that agree about a few
    pictures are not known to be the same.

    Source: Newcombe 1998, "Improved confidence intervals for the difference between binomial
    proportions based on paired data", method 10; Zou and Donner 2008.
    """
    (p, low, high), (q, least, most) = one.interval(), other.interval()
    a, b = one.shifts(), other.shifts()
    size = np.sqrt(_product(a, a) * _product(b, b))
    r = float(np.clip(_product(a, b) / size, -1, 1)) if size > 0 else 0.0

    def reach(x: float, y: float) -> float:
        return float(np.sqrt(max(x**2 - 2 * r * x * y + y**2, 0.0)))

    kish = one.count.sum() ** 2 / (one.count**2).sum() if len(one.count) else np.nan
    quantile = stats.t.isf((1 - LEVEL) / 2, max(kish - 1, 1e-3)) if kish == kish else np.nan
    unseen = quantile**2 / (kish + quantile**2)  # Wilson's upper end of 0 of so many
    same = np.allclose(a, b, atol=1e-12) and np.isclose(p, q, atol=1e-12)
    floor = unseen if same else 0.0
    d = p - q
    ends = d - max(reach(p - low, most - q), floor), d + max(reach(high - p, q - least), floor)
    return d, max(float(ends[0]), -1.0), min(float(ends[1]), 1.0)


def exchanged_p(one: Summed, other: Summed, *, seed: int = 0) -> float:
    """Two-sided p of the null that the two may change places within each unit.

    Exact where all 2^n exchanges fit into 9999, else Monte Carlo with the +1 correction; 1 for
    fewer than two units, NaN where the difference is undefined. Of accuracies of one answer a unit
    it is McNemar's exact test.
    """
    middle, apart = (one.units + other.units).sum(0) / 2, (one.units - other.units) / 2
    units = len(apart)

    def gap(moved: Float[np.ndarray, "*lead sum"]) -> Float[np.ndarray, "*lead"]:
        return one.value(middle + moved) - other.value(middle - moved)

    seen = float(gap(apart.sum(0)))
    if np.isnan(seen):
        return np.nan
    if units < 2 or not apart.any():
        return 1.0
    beyond, total = 0, 0
    for signs in _signs(units, seed):
        found = np.abs(gap(signs @ apart))
        beyond += int((found >= abs(seen) - 1e-12).sum())
        total += len(signs)
    exact = 2**units <= DRAWS + 1 if units < 31 else False
    return beyond / total if exact else (beyond + 1) / (total + 1)


def _signs(units: int, seed: int) -> Iterator[Float[np.ndarray, "draw unit"]]:
    if units < 31 and 2**units <= DRAWS + 1:
        yield np.array(list(itertools.product((1.0, -1.0), repeat=units)))
        return
    rng, step = np.random.default_rng(seed), max(1, HELD // units)
    for start in range(0, DRAWS, step):
        yield 2.0 * rng.integers(0, 2, (min(step, DRAWS - start), units)) - 1.0


def _product(a: Float[np.ndarray, " unit"], b: Float[np.ndarray, " unit"]) -> float:
    """Covariance of two metrics, from what leaving each unit out does to them."""
    return (len(a) - 1) / len(a) * float((a * b).sum()) if len(a) else np.nan
