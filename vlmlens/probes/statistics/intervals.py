"""Intervals: of a statistic, of a proportion, of every cell of a map."""

import warnings
from collections.abc import Callable

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy import stats

from vlmlens.errors import InputError

LEVEL = 0.95
RESAMPLES = 2000


def bootstrap(
    statistic: Callable[..., np.ndarray],
    *columns: Float[np.ndarray, " sample"],
    seed: int = 0,
    resamples: int = RESAMPLES,
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


def mean_map(
    values: xr.DataArray, *, over: str = "sample", scene: str | None = None, seed: int = 0
) -> xr.Dataset:
    """The mean of every cell of a map and its 95 % percentile bootstrap interval.

    One resampling serves all cells, so it costs one matrix product. Samples that share a scene
    (several questions about one picture) are no independent draws: name the coordinate that tells
    scenes, and whole scenes are resampled.

    Args:
        values: with the dimension ``over``; NaN where a sample has no value.
        over: what is resampled.
        scene: a coordinate of ``over``; samples with equal entries are drawn together.
        seed: of the resampling.

    Returns:
        ``mean``, ``low``, ``high`` and ``n`` over the other dimensions, in the values' units; the
        attribute ``correction`` says that each interval is its cell's own. Low and high are NaN
        with fewer than two samples (or scenes) to a cell.
    """
    sums, counts = by_scene(values, over, scene)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), RESAMPLES).astype(float)
    totals, sizes = drawn @ sums, drawn @ counts
    with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a cell that no sample has a value for
        low, high = np.nanpercentile(totals / sizes, (50 * (1 - LEVEL), 50 * (1 + LEVEL)), axis=0)
        mean = sums.sum(0) / counts.sum(0)
    alone = (counts > 0).sum(0) < 2
    rest = values.isel({over: 0}, drop=True)
    cells = {
        "mean": mean,
        "low": np.where(alone, np.nan, low),
        "high": np.where(alone, np.nan, high),
        "n": (counts > 0).sum(0).astype(float),
    }
    made = xr.Dataset({k: rest.copy(data=v.reshape(rest.shape)) for k, v in cells.items()})
    made.attrs = dict(values.attrs) | {
        "interval": f"{LEVEL:.0%}, percentile bootstrap over {scene or over}s",
        "correction": "none: every interval is its cell's own",
    }
    return made


def by_scene(
    values: xr.DataArray, over: str, scene: str | None
) -> tuple[Float[np.ndarray, "unit cell"], Float[np.ndarray, "unit cell"]]:
    """Sums and counts of every cell, one row for each sample, or scene.

    Raises:
        InputError: no such dimension, no such coordinate, or nothing along the dimension.
    """
    if over not in values.dims or not values.sizes[over]:
        raise InputError(f"nothing along {over!r}; the values have {dict(values.sizes)}")
    x = values.transpose(over, ...).values.astype(float).reshape(values.sizes[over], -1)
    known = ~np.isnan(x)
    sums, counts = np.where(known, x, 0.0), known.astype(float)
    if scene is None:
        return sums, counts
    if scene not in values.coords or values[scene].dims != (over,):
        raise InputError(
            f"no coordinate {scene!r} of {over!r}; there is: {', '.join(map(str, values.coords))}"
        )
    _, which = np.unique(values[scene].values.astype(str), return_inverse=True)
    member = np.equal.outer(np.arange(which.max() + 1), which).astype(float)
    return member @ sums, member @ counts
