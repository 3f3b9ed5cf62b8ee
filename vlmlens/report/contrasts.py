"""By how much a measure of one diagnosis differs from that of another."""

import json
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from scipy import stats

from vlmlens.draws import units_of
from vlmlens.evaluation.intervals import DRAWS, HELD, Summed, difference, exchanged_p, summed
from vlmlens.probes.statistics.between import ratio_difference
from vlmlens.report.headline import Headline

Rows = Int[np.ndarray, " sample"]
#: What tells samples apart.
TOLD = ("sample", "picture", "question", "gold")


def shared(one: xr.Dataset, other: xr.Dataset) -> tuple[Rows, Rows] | None:
    """Where the samples that both have are, in the same order; None if the samples are others.

    They are the same if one has all that the other has, but for those that failed in it.
    """
    mine, theirs = _keys(one), _keys(other)
    at = {key: place for place, key in enumerate(theirs)}
    rows = [place for place, key in enumerate(mine) if key in at]
    here = {mine[place] for place in rows}
    left = {key[0] for key in mine if key not in here} - failed(other)
    more = {key[0] for key in theirs if key not in here} - failed(one)
    if not rows or (left and more):
        return None
    return np.array(rows), np.array([at[mine[place]] for place in rows])


def failed(results: xr.Dataset) -> set[str]:
    """The names of the samples that could not be measured."""
    return {str(each["id"]) for each in json.loads(results.attrs.get("failures", "[]"))}


def _keys(results: xr.Dataset) -> list[tuple[str, ...]]:
    told = [results[n].values.astype(str).tolist() for n in TOLD if n == "sample" or n in results]
    return list(zip(*told, strict=True))


def paired(
    mine: Headline, theirs: Headline, one: xr.Dataset, rows: tuple[Rows, Rows], seed: int
) -> dict[str, Any]:
    """A measure of the other model less that of the first, about the samples that both have.

    Args:
        mine: the first model's.
        theirs: the other's.
        one: the first's results, which say what is drawn.
        rows: where the samples are in each (``shared``).
        seed: of exchanges that are drawn.
    """
    sums = [_sums(each, at) for each, at in zip((mine, theirs), rows, strict=True)]
    known = np.isfinite(np.concatenate(sums, axis=1)).all(1)
    if not known.any():
        return _row((np.nan,) * 3, np.nan, True, 0, 0, "")
    unit, which = units_of(one.isel(sample=rows[0][known]))
    a, b = (summed(each[known], _ratio, which, answers=mine.answers) for each in sums)
    if mine.kind == "share":
        found = difference(b, a)
    else:
        pair = [(each.units[:, 0], each.units[:, 1]) for each in (a, b)]
        count = np.bincount(which).astype(float) if mine.kind == "ratio" else None
        found = ratio_difference(*pair, count=count)
    found = mine.scale * np.array(found)
    p = exchanged_p(b, a, seed=seed) if found[0] == found[0] else np.nan
    return _row(found.tolist(), p, True, int(known.sum()), len(a.count), unit)


def unpaired(
    mine: Headline, theirs: Headline, one: xr.Dataset, other: xr.Dataset, seed: int
) -> dict[str, Any]:
    """The same of models that were asked about different samples, as if independent.

    Args:
        mine: the first model's.
        theirs: the other's.
        one: the first's results, which say what is drawn.
        other: the other's.
        seed: of the permutations.
    """
    p, q = theirs.estimate, mine.estimate
    d = p.value - q.value
    low = d - np.hypot(p.value - p.low, q.high - q.value)
    high = d + np.hypot(p.high - p.value, q.value - q.low)
    (a, n, _), (b, m, unit) = _alone(mine, one), _alone(theirs, other)
    tested = moved_p(b, a, seed=seed) if d == d else np.nan
    return _row((d, low, high), tested, False, n + m, len(a.count) + len(b.count), unit)


def moved_p(one: Summed, other: Summed, *, seed: int = 0) -> float:
    """Two-sided p of the null that units are as likely to be of either; NaN where undefined.

    Exact where all ways to part them fit into 9999, else Monte Carlo with the +1 correction.
    """
    units = np.concatenate([one.units, other.units])
    first = np.arange(len(units)) < len(one.units)

    def gap(
        mine: Float[np.ndarray, "*lead unit"], theirs: Float[np.ndarray, "*lead unit"], axis: int
    ) -> Float[np.ndarray, "*lead"]:
        return one.value(units[mine.astype(int)].sum(axis - 1)) - other.value(
            units[theirs.astype(int)].sum(axis - 1)
        )

    places = np.arange(len(units))
    found = stats.permutation_test(
        (places[first], places[~first]),
        gap,
        vectorized=True,
        axis=-1,
        n_resamples=DRAWS,
        batch=max(1, HELD // (2 * len(units))),
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def _alone(measure: Headline, results: xr.Dataset) -> tuple[Summed, int, str]:
    """A measure's sums over all samples that have it, how many these are, and what is drawn."""
    sums = _sums(measure, np.arange(len(measure.x)))
    known = np.flatnonzero(np.isfinite(sums).all(1))
    unit, which = units_of(results.isel(sample=known)) if len(known) else ("", known)
    return summed(sums[known], _ratio, which), len(known), unit


def _sums(measure: Headline, rows: Rows) -> Float[np.ndarray, "sample 2"]:
    return np.stack([measure.x[rows], measure.y[rows]], axis=1)


def _ratio(sums: Float[np.ndarray, "*lead sum"]) -> Float[np.ndarray, "*lead"]:
    x, y = sums[..., 0], sums[..., 1]
    return np.divide(x, y, out=np.full_like(x, np.nan), where=y > 0)


def _row(found: Any, p: float, is_paired: bool, n: int, draws: int, unit: str) -> dict[str, Any]:
    names = ("difference", "difference_low", "difference_high")
    row = dict(zip(names, map(float, found), strict=True))
    return row | {"p": p, "paired": is_paired, "n": n, "draws": draws, "unit": unit}
