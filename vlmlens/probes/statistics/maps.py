"""Tests of whole maps, where some cell is always extreme by chance."""

import logging
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float
from scipy import stats

from vlmlens.draws import by_scene
from vlmlens.errors import InputError
from vlmlens.estimates import FEW, LEVEL, cautious_t
from vlmlens.probes.statistics.intervals import mean_map
from vlmlens.probes.statistics.redrawn import Null, exchanged, redrawn

CORRECTIONS = {
    "max": "family-wise: the largest cell of each redrawn map (maximum statistic)",
    "fdr": "false discovery rate (Benjamini-Hochberg)",
    "none": "none: with many cells some p are small by chance",
}
TESTS = {
    "mean": "two-sided bootstrap test of the mean, skewness-corrected t",
    "exchange": "two-sided sign-flip permutation test",
}


def map_test(
    values: xr.DataArray,
    null: float | xr.DataArray = 0.0,
    *,
    correction: str = "max",
    test: str = "mean",
    over: str = "sample",
    scene: str | bool | None = None,
    permutations: int = 1999,
    seed: int = 0,
    shares: bool | None = None,
    warn: bool = True,
) -> xr.Dataset:
    """Is the mean of each cell of a map different from a null value?

    There are two nulls, and a test for each.

    ``"mean"``: the mean IS the null value, whatever the shape. With t Student's of the deviations
    d from the null, g their skewness and a = g / sqrt(n), Hall's transformation takes out what
    skewness does to t, and the smaller of the two counts
    (g is taken 1.5 times as large as in the sample, in which long tails are seldom seen whole):

        z = sign(t) min(|t|, |t + a t^2 / 3 + a^2 t^3 / 27|)

    ``p`` is that of Student's distribution at z. For the corrections units are drawn again with
    replacement from the centred deviations, each map is tested in the same way, and the cell is
    compared with the largest |z| of every such map (``"max"``), or with all of its cells
    (``"fdr"``, at least ``p``, then Benjamini-Hochberg). Signs that are flipped would not do: the
    means of skewed numbers, as shares and norms are, pass for findings. The price: |z| is at most
    1 / |a| where the longer tail lies towards the null, however large the effect, and maps drawn
    from few units have large z of their own. Some twelve units may find nothing although each
    deviates the same way; a warning and the attribute ``note`` count the cells of which a sign test
    says so. For what patching changes, as for any difference of two conditions, take "exchange".

    ``"exchange"``: a deviation is as likely to have the other sign, as the difference of two
    conditions that may change places. Signs are then flipped for whole units, with

        z = sum(d) / sqrt(sum(d^2))

    Exact where all 2^n sign patterns are no more than ``permutations``, else Monte Carlo with the
    +1 correction. It holds for any n, but says that SOMETHING differs: means may be equal and
    shapes not.

    Args:
        values: with the dimension ``over``, such as (sample, layer, head). For two paired
            conditions, their difference.
        null: the value that means nothing: 0 for a change, 1 for a ratio, or an array such as
            CMB's ``uniform``.
        correction: ``"max"`` (strict, holds for correlated cells), ``"fdr"`` or ``"none"``.
        test: ``"mean"`` or ``"exchange"``.
        over: the samples' dimension.
        scene: a coordinate of it: samples of one scene are drawn, or flipped, together. By
            default ``picture``, where it is there; ``False``: every sample alone.
        permutations: how many maps are redrawn.
        seed: of the redrawing.
        shares: whether the values are answers, as in ``mean_map``: it decides over intervals.
        warn: say so in the log ``vlmlens`` where the samples are too few for the test; the
            attribute ``note`` has it in any case.

    Returns:
        The variables of ``mean_map``, and ``z``, ``p``, ``p_corrected``, ``significant`` (at
        5 %) and ``effect``, Cohen's d. p is NaN where no sample has a value; and, in the test of
        the mean, with fewer than five units to a cell and where all samples have one and the same
        value other than the null, from which nothing can be told (attribute ``note``). It is 1
        where none deviates. The attribute ``correction`` names what was done.

    Raises:
        InputError: an unknown correction or test, infinite values, or no samples.

    Source: Nichols and Holmes 2002, "Nonparametric permutation tests for functional
    neuroimaging"; Benjamini and Hochberg 1995; Romano and Wolf 2005, "Exact and approximate
    stepdown methods for multiple hypothesis testing"; Hall 1992, "On the removal of skewness by
    transformation".

    Examples:
        >>> import xarray as xr
        >>> from vlmlens.probes.statistics import map_test
        >>> values = np.random.default_rng(0).normal(size=(20, 2, 3))
        >>> values[:, 1, 2] += 2  # one head of one layer
        >>> found = map_test(xr.DataArray(values, dims=("sample", "layer", "head")))
        >>> found.significant.values.astype(int).tolist()
        [[0, 0, 0], [0, 0, 1]]
    """
    if correction not in CORRECTIONS:
        raise InputError(f"correction={correction!r}; there is: {', '.join(CORRECTIONS)}")
    if test not in TESTS:
        raise InputError(f"test={test!r}; there is: {', '.join(TESTS)}")
    found = mean_map(values, over=over, scene=scene, shares=shares)
    deviation = (values - null).transpose(over, ...).assign_coords(values.coords)
    sums, counts = by_scene(deviation, over, scene)
    units = (counts > 0).sum(0)
    refused = units == 0
    if test == "exchange":
        z, null_maps = exchanged(sums, permutations, seed)
        p = null_maps.reached(np.abs(z))
    else:
        powers = [(sums**k).sum(0) for k in (1, 2, 3)]
        z = cautious_t(np.maximum(units, 2).astype(float), *powers)
        refused |= (units < FEW) | (np.isinf(z) & (units > 0))
        null_maps = redrawn(sums, counts, permutations, seed)
        p = 2 * stats.t.sf(np.abs(z), np.maximum(units - 1, 1))
    p = np.where(refused, np.nan, p)
    adjusted = _adjusted(correction, test, np.where(refused, 0.0, np.abs(z)), p, null_maps)
    shape = found["mean"].shape
    cells = {"z": z, "p": p, "p_corrected": adjusted, "effect": _effect(sums, counts)}
    for name, cell in cells.items():
        cell = np.where(units == 0, np.nan, cell)
        found[name] = found["mean"].copy(data=cell.reshape(shape))
    found["significant"] = found["p_corrected"] < 1 - LEVEL
    unit = found.attrs["unit"]
    exact = "exact" if null_maps.exact else "Monte Carlo"
    found.attrs |= {
        "correction": CORRECTIONS[correction],
        "cells": int((~refused).sum()),
        "test": f"{TESTS[test]} over {unit}s, {exact}, {null_maps.total}",
        "interval_correction": "none: every interval is its cell's own",
    }
    if isinstance(null, int | float):
        found.attrs["null"] = float(null)
    missed = _agreeing(sums, counts) & (adjusted >= 1 - LEVEL) & (test == "mean") & ~refused
    notes = _notes(refused & (units > 0), missed, unit, len(sums))
    if told := "; ".join(filter(None, [found.attrs.get("note"), *notes])):
        found.attrs["note"] = told
    if notes and warn:
        logging.getLogger("vlmlens").warning("map_test: %s", "; ".join(notes))
    return found


def _notes(
    untold: Bool[np.ndarray, " cell"], missed: Bool[np.ndarray, " cell"], unit: str, count: int
) -> list[str]:
    """What to say of cells that are not tested, and of those whose effect so few cannot tell."""
    notes = []
    instead = "or, for the difference of two conditions that may change places, test='exchange'"
    if untold.any():
        notes.append(
            f"{int(untold.sum())} of {untold.size} cells are not tested: fewer than {FEW} {unit}s "
            f"(there are {count}), or the same value in all. More {unit}s; {instead}"
        )
    if missed.any():
        notes.append(
            f"{int(missed.sum())} of {missed.size} cells deviate the same way in every {unit} and "
            f"have no small p: {count} {unit}s do not rule out rare values on the other side, by "
            f"which the mean would be the null. More {unit}s; {instead}"
        )
    return notes


def _agreeing(
    sums: Float[np.ndarray, "unit cell"], counts: Float[np.ndarray, "unit cell"]
) -> Bool[np.ndarray, " cell"]:
    """Cells that a sign test finds, corrected for their number: all units on one side."""
    n = (counts > 0).sum(0)
    one_way = ((sums > 0).sum(0) == n) | ((sums < 0).sum(0) == n)
    return one_way & (2.0 ** (1 - n) * n.size < 1 - LEVEL)


def _adjusted(
    correction: str,
    test: str,
    size: Float[np.ndarray, " cell"],
    p: Float[np.ndarray, " cell"],
    null_maps: Null,
) -> Float[np.ndarray, " cell"]:
    if correction == "max":
        return np.where(np.isnan(p), np.nan, null_maps.topped(size))
    if correction == "fdr" and test == "mean":
        p = np.where(np.isnan(p), np.nan, np.maximum(p, null_maps.pooled(size)))
    return corrected(p, correction)


def _effect(
    sums: Float[np.ndarray, "unit cell"], counts: Float[np.ndarray, "unit cell"]
) -> Float[np.ndarray, " cell"]:
    """Cohen's d of every cell over samples (or scenes); NaN where it does not vary."""
    units, n = sums / np.maximum(counts, 1), (counts > 0).sum(0)
    mean = units.sum(0) / np.maximum(n, 1)
    deviation = np.where(counts > 0, units - mean, 0.0)
    spread = np.sqrt((deviation**2).sum(0) / np.maximum(n - 1, 1))
    return np.divide(mean, spread, out=np.full_like(mean, np.nan), where=(spread > 0) & (n > 1))


def corrected(p: Any, correction: str) -> Any:
    """P values of many cells, adjusted by ``"fdr"`` (Benjamini-Hochberg) or ``"none"``; NaN stays.

    Args:
        p: of any shape; a labelled array keeps its labels.
        correction: ``"fdr"`` or ``"none"``.

    Raises:
        InputError: ``"max"``, which needs the redrawn maps: use ``map_test``.

    Examples:
        >>> from vlmlens.probes.statistics import corrected
        >>> corrected(np.array([0.01, 0.02, 0.04, np.nan]), "fdr").round(3).tolist()
        [0.03, 0.03, 0.04, nan]
    """
    if isinstance(p, xr.DataArray):
        return p.copy(data=corrected(p.values, correction))
    p = np.array(p, dtype=float)
    if correction == "none":
        return p
    if correction != "fdr":
        raise InputError(f"correction={correction!r} of p values alone; there is: fdr, none")
    known = ~np.isnan(p)
    adjusted = np.full(p.shape, np.nan)
    if known.any():
        adjusted[known] = stats.false_discovery_control(p[known], method="bh")
    return adjusted
