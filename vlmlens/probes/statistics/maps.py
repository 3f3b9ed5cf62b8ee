"""Tests of whole maps, where some cell is always extreme by chance."""

import itertools

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy import stats

from vlmlens.errors import InputError
from vlmlens.probes.statistics.intervals import LEVEL, by_scene, mean_map

CORRECTIONS = {
    "max": "family-wise: the largest cell of each relabelled map (maximum statistic)",
    "fdr": "false discovery rate (Benjamini-Hochberg)",
    "none": "none: with many cells some p are small by chance",
}


def map_test(
    values: xr.DataArray,
    null: float | xr.DataArray = 0.0,
    *,
    correction: str = "max",
    over: str = "sample",
    scene: str | None = None,
    permutations: int = 4999,
    seed: int = 0,
) -> xr.Dataset:
    """Is the mean of each cell of a map different from a null value?

    Under the null a sample's deviation d from it is as likely to have the other sign. Signs are
    flipped for whole samples, so what cells have in common stays; the statistic of a cell is

        z = sum(d) / sqrt(sum(d^2))

    which grows with Student's t. ``p`` counts relabellings whose |z| reaches the cell's own;
    ``p_corrected`` allows for the number of cells. Exact where all 2^n sign patterns are no more
    than ``permutations``, else Monte Carlo with the +1 correction.

    Args:
        values: with the dimension ``over``, such as (sample, layer, head). For two paired
            conditions, their difference.
        null: the value that means nothing: 0 for a change, 1 for a ratio, or an array such as
            CMB's ``uniform``.
        correction: ``"max"`` (strict, exact for correlated cells), ``"fdr"`` or ``"none"``.
        over: the samples' dimension.
        scene: a coordinate of it: samples of one scene flip together.
        permutations: how many relabellings.
        seed: of the relabellings.

    Returns:
        The variables of ``mean_map``, and ``z``, ``p``, ``p_corrected``, ``significant`` (at
        5 %) and ``effect``, Cohen's d. p is NaN where no sample has a value, and 1 where none
        deviates. The attribute ``correction`` names what was done.

    Raises:
        InputError: an unknown correction, or no samples.

    Source: Nichols and Holmes 2002, "Nonparametric permutation tests for functional
    neuroimaging"; Benjamini and Hochberg 1995.
    """
    if correction not in CORRECTIONS:
        raise InputError(f"correction={correction!r}; there is: {', '.join(CORRECTIONS)}")
    found = mean_map(values, over=over, scene=scene, seed=seed)
    deviation = (values - null).transpose(over, ...)
    sums, counts = by_scene(deviation.assign_coords(values.coords), over, scene)
    z, exceeded, largest, total = signed(sums, permutations, seed)
    empty = counts.sum(0) == 0
    p = np.where(empty, np.nan, exceeded / total)
    if correction == "max":
        reached = (largest[:, None] >= np.abs(z) - 1e-9).sum(0)
        adjusted = np.where(empty, np.nan, (reached + (total - len(largest))) / total)
    else:
        adjusted = corrected(p, correction)
    shape = found["mean"].shape
    cells = {"z": z, "p": p, "p_corrected": adjusted, "effect": _effect(sums, counts)}
    for name, cell in cells.items():
        found[name] = found["mean"].copy(data=np.where(empty, np.nan, cell).reshape(shape))
    found["significant"] = found["p_corrected"] < 1 - LEVEL
    exact = "exact" if total == len(largest) else "Monte Carlo"
    found.attrs |= {
        "correction": CORRECTIONS[correction],
        "cells": int((~empty).sum()),
        "test": f"two-sided sign-flip permutation test over {scene or over}s, {exact}, {total}",
        "interval_correction": "none: every interval is its cell's own",
    }
    return found


def _effect(
    sums: Float[np.ndarray, "unit cell"], counts: Float[np.ndarray, "unit cell"]
) -> Float[np.ndarray, " cell"]:
    """Cohen's d of every cell over samples (or scenes); NaN where it does not vary."""
    units, n = sums / np.maximum(counts, 1), (counts > 0).sum(0)
    mean = units.sum(0) / np.maximum(n, 1)
    deviation = np.where(counts > 0, units - mean, 0.0)
    spread = np.sqrt((deviation**2).sum(0) / np.maximum(n - 1, 1))
    return np.divide(mean, spread, out=np.full_like(mean, np.nan), where=(spread > 0) & (n > 1))


def corrected(p: Float[np.ndarray, "*cells"], correction: str) -> Float[np.ndarray, "*cells"]:
    """P values of many cells, adjusted by ``"fdr"`` (Benjamini-Hochberg) or ``"none"``; NaN stays.

    Raises:
        InputError: ``"max"``, which needs the relabelled maps: use ``map_test``.
    """
    if correction == "none":
        return p.copy()
    if correction != "fdr":
        raise InputError(f"correction={correction!r} of p values alone; there is: fdr, none")
    known = ~np.isnan(p)
    adjusted = np.full(p.shape, np.nan)
    if known.any():
        adjusted[known] = stats.false_discovery_control(p[known], method="bh")
    return adjusted


def signed(
    sums: Float[np.ndarray, "unit cell"], permutations: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Every cell's z, how many sign patterns reach it, each pattern's largest |z|, and of how many.

    In a Monte Carlo run the data themselves count as one more pattern; an exact run holds them.
    """
    units = len(sums)
    scale = np.sqrt((sums**2).sum(0))
    unit = np.divide(sums, scale, out=np.zeros_like(sums), where=scale > 0)
    z = unit.sum(0)
    exact = units < 31 and 2**units <= permutations + 1
    if exact:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=units)))
    else:
        drawn = np.random.default_rng(seed).integers(0, 2, (permutations, units))
        signs = 2.0 * drawn - 1.0
    extra = 0 if exact else 1
    exceeded, largest = np.full(z.shape, float(extra)), []
    for start in range(0, len(signs), 500):
        relabelled = np.abs(signs[start : start + 500] @ unit)
        exceeded += (relabelled >= np.abs(z) - 1e-9).sum(0)
        largest.append(relabelled.max(1))
    return z, exceeded, np.concatenate(largest), len(signs) + extra
