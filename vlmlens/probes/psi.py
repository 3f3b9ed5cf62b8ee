"""Position Sensitivity Index: what accuracy loses when an image's tokens are shuffled."""

import numpy as np
import xarray as xr

from vlmlens.errors import InputError
from vlmlens.probes.statistics import bootstrap, paired_p, proportion_interval

ORIGINAL, OVERALL = "original", "overall"


def position_sensitivity_index(
    correct: xr.DataArray, log_prob: xr.DataArray | None = None, *, seed: int = 0
) -> xr.Dataset:
    """PSI overall and per category, from a table of right and wrong answers.

    With A the accuracy on intact images, and A_perm the mean over permutations of the accuracy on
    shuffled ones:

        PSI = 100 (A - A_perm) / A

    0: the order of the tokens is irrelevant. 100: nothing is left without it. It can be negative
    and is not clamped. NaN where A is 0. ``psi_corrected`` divides by (A - chance) instead, where
    the samples' ``chance`` is known.

    Args:
        correct: (sample, permutation), 0 or 1; ``permutation`` holds ``"original"`` and one label
            for every shuffle. Coordinates ``category`` and ``chance`` (sample) are used if there.
        log_prob: the same table of the right answer's log probability, for ``drop_log_prob``.
        seed: of bootstrap and permutation test.

    Returns:
        Variables over ``category`` (``"overall"`` first): ``psi`` in per cent, ``accuracy`` and
        ``accuracy_permuted`` as fractions, each with ``_low`` and ``_high`` (95 %; samples are
        resampled with all their permutations, so intervals are paired; Wilson for ``accuracy``);
        ``p_value`` of a paired permutation test, ``n``, ``permutations`` (attribute).

    Raises:
        InputError: no column ``"original"``, or no other.

    Source:
        Qi et al. 2025, "Beyond Semantics", arXiv:2503.17349; intervals, permutations and the
        corrected form are ours.
    """
    names = [str(p) for p in correct["permutation"].values]
    if ORIGINAL not in names or len(names) < 2:
        raise InputError(f"PSI needs {ORIGINAL!r} and at least one permutation; there is: {names}")
    categories = (
        [str(c) for c in correct["category"].values]
        if "category" in correct.coords
        else [""] * correct.sizes["sample"]
    )
    chance = correct["chance"].values if "chance" in correct.coords else None
    groups = {OVERALL: np.ones(len(categories), dtype=bool)}
    for name in sorted(set(categories) - {""}):
        groups[name] = np.array([c == name for c in categories])
    shuffled = [name for name in names if name != ORIGINAL]
    rows = []
    for member in groups.values():
        here = correct.isel(sample=member)
        intact = here.sel(permutation=ORIGINAL).values.astype(float)
        permuted = here.sel(permutation=shuffled).mean("permutation").values.astype(float)
        row = _row(intact, permuted, None if chance is None else chance[member], seed)
        if log_prob is not None:
            p = log_prob.isel(sample=member)
            drop = (
                p.sel(permutation=ORIGINAL) - p.sel(permutation=shuffled).mean("permutation")
            ).values.astype(float)
            low, high = bootstrap(_mean, drop, seed=seed)
            row |= {"drop_log_prob": drop.mean(), "drop_log_prob_low": low}
            row |= {"drop_log_prob_high": high}
        rows.append(row)
    table = xr.Dataset(
        {name: ("category", [row[name] for row in rows]) for name in rows[0]},
        coords={"category": list(groups)},
        attrs={
            "source": "arXiv:2503.17349",
            "permutations": len(shuffled),
            "interval": "95 %, percentile bootstrap over samples, paired; Wilson for accuracy",
            "test": "two-sided paired permutation test of A = A_perm",
        },
    )
    table["psi"].attrs = {"units": "%", "long_name": "position sensitivity index"}
    return table


def _row(
    intact: np.ndarray, permuted: np.ndarray, chance: np.ndarray | None, seed: int
) -> dict[str, float]:
    low, high = bootstrap(_psi, intact, permuted, seed=seed)
    accuracy_low, accuracy_high = proportion_interval(int(intact.sum()), len(intact))
    permuted_low, permuted_high = bootstrap(_mean, permuted, seed=seed)
    row = {
        "psi": float(_psi(intact, permuted, axis=-1)),
        "psi_low": low,
        "psi_high": high,
        "accuracy": intact.mean(),
        "accuracy_low": accuracy_low,
        "accuracy_high": accuracy_high,
        "accuracy_permuted": permuted.mean(),
        "accuracy_permuted_low": permuted_low,
        "accuracy_permuted_high": permuted_high,
        "p_value": paired_p(intact, permuted, seed=seed),
        "n": len(intact),
    }
    if chance is not None:
        above = intact.mean() - chance.mean()
        drop = intact.mean() - permuted.mean()
        row["chance"] = chance.mean()
        row["psi_corrected"] = 100 * drop / above if above > 0 else float("nan")
    return row


def _mean(x: np.ndarray, axis: int) -> np.ndarray:
    return np.mean(x, axis=axis)


def _psi(intact: np.ndarray, permuted: np.ndarray, axis: int) -> np.ndarray:
    a, b = intact.mean(axis=axis), permuted.mean(axis=axis)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(a > 0, 100 * (a - b) / a, np.nan)
