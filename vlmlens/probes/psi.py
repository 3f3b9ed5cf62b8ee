"""Position Sensitivity Index: what accuracy loses when an image's tokens are shuffled."""

import numpy as np
import xarray as xr

from vlmlens.errors import InputError
from vlmlens.probes.graded import UNANSWERED, graded
from vlmlens.probes.statistics import bootstrap, flip_odds, flips, paired_p, proportion_interval
from vlmlens.probes.statistics.intervals import by_scene

ORIGINAL, OVERALL = "original", "overall"


def position_sensitivity_index(
    correct: xr.DataArray,
    log_prob: xr.DataArray | None = None,
    kl: xr.DataArray | None = None,
    *,
    scene: str | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """PSI overall and per category, from a table of right and wrong answers.

    With A the accuracy on intact images, and A_perm the mean over permutations of the accuracy on
    shuffled ones:

        PSI = 100 (A - A_perm) / A

    0: the order of the tokens is irrelevant. 100: nothing is left without it. It can be negative
    and is not clamped. NaN where A is 0. ``psi_corrected`` divides by (A - chance) instead, where
    the samples' ``chance`` is known.

    Args:
        correct: (sample, permutation), 0 or 1, and NaN for a sample without a right answer, which
            is left out (attribute ``unanswered``); ``permutation`` holds ``"original"`` and one
            label for every shuffle. Coordinates ``category`` and ``chance`` (sample) are used if
            there.
        log_prob: the same table of the right answer's log probability, for ``drop_log_prob``.
        kl: the same table of KL(original || shuffled) of what comes next, for ``kl``; its column
            ``"original"`` is not read. Neither of the two needs a right or wrong.
        scene: a coordinate of ``sample``; questions about one scene are resampled together.
        seed: of bootstrap and permutation test.

    Returns:
        Variables over ``category`` (``"overall"`` first): ``psi`` in per cent, ``accuracy`` and
        ``accuracy_permuted`` as fractions, each with ``_low`` and ``_high`` (95 %; samples are
        resampled with all their permutations, so intervals are paired; Wilson for ``accuracy``);
        ``lost`` and ``gained``, the shares of answers that turned wrong and right, averaged over
        shuffles (their difference is A - A_perm); ``p_value`` of a paired permutation test,
        ``n``, ``permutations`` (attribute). ``answer_flips`` has each shuffle's own test.

    Raises:
        InputError: no column ``"original"``, or no other.

    Source:
        Qi et al. 2025, "Beyond Semantics", arXiv:2503.17349; intervals, permutations and the
        corrected form are ours.
    """
    correct, log_prob, kl = graded(correct, log_prob, kl)  # type: ignore[misc]
    names = [str(p) for p in correct["permutation"].values]
    if ORIGINAL not in names or len(names) < 2:
        raise InputError(f"PSI needs {ORIGINAL!r} and at least one permutation; there is: {names}")
    chance = correct["chance"].values if "chance" in correct.coords else None
    groups = groups_of(correct)
    shuffled = [name for name in names if name != ORIGINAL]
    rows = []
    for member in groups.values():
        here = correct.isel(sample=member).transpose("sample", "permutation")
        intact = here.sel(permutation=ORIGINAL).values.astype(float)
        permuted = here.sel(permutation=shuffled).mean("permutation").values.astype(float)
        units = _units(here, scene)
        row = _row(intact, permuted, units, None if chance is None else chance[member], seed)
        changed = here.sel(permutation=shuffled).values.astype(float)
        row["lost"] = float(((intact[:, None] > 0) & (changed <= 0)).mean())
        row["gained"] = float(((intact[:, None] <= 0) & (changed > 0)).mean())
        if log_prob is not None:
            p = log_prob.isel(sample=member).transpose("sample", "permutation")
            fall = p.sel(permutation=ORIGINAL) - p.sel(permutation=shuffled).mean("permutation")
            row |= _interval("drop_log_prob", fall.values.astype(float), units, seed)
        if kl is not None:
            apart = kl.isel(sample=member).sel(permutation=shuffled).mean("permutation")
            row |= _interval("kl", apart.values.astype(float), units, seed)
        rows.append(row)
    table = xr.Dataset(
        {name: ("category", [row[name] for row in rows]) for name in rows[0]},
        coords={"category": list(groups)},
        attrs={
            "source": "arXiv:2503.17349",
            "permutations": len(shuffled),
            "interval": f"95 %, percentile bootstrap over {scene or 'sample'}s, paired; Wilson for "
            "accuracy",
            "test": "two-sided paired permutation test of A = A_perm",
        },
    )
    if UNANSWERED in correct.attrs:
        table.attrs[UNANSWERED] = correct.attrs[UNANSWERED]
    table["psi"].attrs = {"units": "%", "long_name": "position sensitivity index"}
    return table


def answer_flips(correct: xr.DataArray) -> xr.Dataset:
    """Which answers each shuffle turned wrong, and which right, with McNemar's exact test.

    Args:
        correct: (sample, permutation), as for ``position_sensitivity_index``.

    Returns:
        Over (category, shuffle): ``lost`` and ``gained``, numbers of samples; ``odds``, lost /
        gained (infinite where none was gained, NaN where none flipped); ``p`` of the null that
        flips go either way alike. These p are each one shuffle's, and not corrected.

    Raises:
        InputError: no column ``"original"``, or no other.

    Source: McNemar 1947.
    """
    (correct,) = graded(correct)  # type: ignore[assignment]
    shuffled = [str(p) for p in correct["permutation"].values if str(p) != ORIGINAL]
    if len(shuffled) in (0, correct.sizes["permutation"]):
        raise InputError(f"flips are counted against {ORIGINAL!r}; there is: {shuffled}")
    groups = groups_of(correct)
    found = []
    for member in groups.values():
        here = correct.isel(sample=member)
        intact = here.sel(permutation=ORIGINAL).values.astype(float)
        found.append(
            [flips(intact, here.sel(permutation=s).values.astype(float)) for s in shuffled]
        )
    cells = {
        "lost": [[f.lost for f in row] for row in found],
        "gained": [[f.gained for f in row] for row in found],
        "odds": [[flip_odds(f.lost, f.gained) for f in row] for row in found],
        "p": [[f.p for f in row] for row in found],
    }
    return xr.Dataset(
        {name: (("category", "shuffle"), np.array(cell, float)) for name, cell in cells.items()},
        coords={"category": list(groups), "shuffle": shuffled},
        attrs={"test": "McNemar, exact", "correction": "none: every p is one shuffle's own"},
    )


def groups_of(values: xr.DataArray) -> dict[str, np.ndarray]:
    """``"overall"`` and every category that samples name: which samples are in it."""
    size = values.sizes["sample"]
    names = [str(c) for c in values["category"].values] if "category" in values.coords else []
    groups = {OVERALL: np.ones(size, dtype=bool)}
    for name in sorted(set(names) - {""}):
        groups[name] = np.array([c == name for c in names])
    return groups


def _units(here: xr.DataArray, scene: str | None) -> np.ndarray:
    """Which sample belongs to which unit that is drawn: (unit, sample), 0 or 1."""
    if scene is None:
        return np.eye(here.sizes["sample"])
    columns = xr.DataArray(
        np.eye(here.sizes["sample"]), dims=("sample", "one"), coords={scene: here[scene]}
    )
    return by_scene(columns, "sample", scene)[0]


def _interval(name: str, values: np.ndarray, units: np.ndarray, seed: int) -> dict[str, float]:
    """The mean of one number a sample, and its interval."""
    low, high = bootstrap(_ratio, units @ values, units.sum(1), seed=seed)
    return {name: values.mean(), f"{name}_low": low, f"{name}_high": high}


def _row(
    intact: np.ndarray,
    permuted: np.ndarray,
    units: np.ndarray,
    chance: np.ndarray | None,
    seed: int,
) -> dict[str, float]:
    whole, mixed = units @ intact, units @ permuted
    low, high = bootstrap(_psi, whole, mixed, seed=seed)
    accuracy_low, accuracy_high = proportion_interval(int(intact.sum()), len(intact))
    row = {
        "psi": float(_psi(intact, permuted, axis=-1)),
        "psi_low": low,
        "psi_high": high,
        "accuracy": intact.mean(),
        "accuracy_low": accuracy_low,
        "accuracy_high": accuracy_high,
        **_interval("accuracy_permuted", permuted, units, seed),
        "p_value": paired_p(whole, mixed, seed=seed),
        "n": len(intact),
    }
    if chance is not None:
        above = intact.mean() - chance.mean()
        drop = intact.mean() - permuted.mean()
        row["chance"] = chance.mean()
        row["psi_corrected"] = 100 * drop / above if above > 0 else float("nan")
        guess = units @ chance
        row["psi_corrected_low"], row["psi_corrected_high"] = bootstrap(
            _corrected, whole, mixed, guess, seed=seed
        )
    return row


def _ratio(x: np.ndarray, n: np.ndarray, axis: int) -> np.ndarray:
    return x.sum(axis=axis) / n.sum(axis=axis)


def _psi(intact: np.ndarray, permuted: np.ndarray, axis: int) -> np.ndarray:
    return _corrected(intact, permuted, np.zeros_like(intact), axis)


def _corrected(
    intact: np.ndarray, permuted: np.ndarray, chance: np.ndarray, axis: int
) -> np.ndarray:
    a, b, c = (x.sum(axis=axis) for x in (intact, permuted, chance))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(a > c, 100 * (a - b) / (a - c), np.nan)
