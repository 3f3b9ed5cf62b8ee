"""Position Sensitivity Index: what accuracy loses when an image's tokens are shuffled."""

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int

from vlmlens.annotations import checked
from vlmlens.draws import units_of
from vlmlens.errors import InputError
from vlmlens.estimates import FEW, beware, mean_interval, ratio_interval, share_interval
from vlmlens.probes.graded import (
    GOLD,
    OWN,
    UNANSWERED,
    against_own,
    graded,
    refuse_missing,
    untested,
)
from vlmlens.probes.statistics import exchange_p
from vlmlens.probes.statistics.intervals import drawn_from

ORIGINAL, OVERALL = "original", "overall"
#: What intervals and p say of themselves, of units such as pictures.
INTERVAL = (
    "95 %, over {}s; PSI: Fieller's with Student's t and Hall's skewness-corrected t, its low end "
    "no higher than Wilson's of what survives; shares: Wilson's with the effective number of "
    "answers"
)
TEST = "two-sided permutation test over {}s that the intact image is like its shuffles"


@checked
def position_sensitivity_index(
    correct: xr.DataArray,
    log_prob: xr.DataArray | None = None,
    kl: xr.DataArray | None = None,
    *,
    scene: str | bool | None = None,
    reference: str | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """PSI overall and per category, from a table of right and wrong answers.

    With A the accuracy on intact images, and A_perm the mean over permutations of the accuracy on
    shuffled ones:

        PSI = 100 (A - A_perm) / A

    0: the order of the tokens is irrelevant. 100: nothing is left without it. It can be negative
    and is not clamped. NaN where A is 0. ``psi_corrected`` divides by (A - chance) instead, where
    the samples' ``chance`` is known.

    Against the model's own answers (``reference="own"``) A is 1 by construction, and PSI is the
    share of answers that shuffling changes. There is no p then: a null under which intact and
    shuffled images might change places cannot hold, where only one of them can be wrong. Nor is
    there one where A is 1 and nothing says what answers were measured against.

    Args:
        correct: (sample, permutation), 0 or 1, and NaN for a sample without a right answer, which
            is left out (attribute ``unanswered``); ``permutation`` holds ``"original"`` and one
            label for every shuffle. Coordinates ``category``, ``chance`` and ``picture``
            (sample) are used if there.
        log_prob: the same table of the right answer's log probability, for ``drop_log_prob``.
        kl: the same table of KL(original || shuffled) of what comes next, for ``kl``; its column
            ``"original"`` is not read. Neither of the two needs a right or wrong.
        scene: a coordinate of ``sample``; questions about one scene are drawn together. By
            default ``picture``, where it is there; ``False``: every question is drawn alone.
        reference: ``"gold"`` or ``"own"``; by default the attribute of ``correct``, else gold.
        seed: of the permutation test.

    Returns:
        Variables over ``category`` (``"overall"`` first): ``psi`` in per cent, ``accuracy`` and
        ``accuracy_permuted`` as fractions, each with ``_low`` and ``_high`` (95 %; of PSI paired,
        ``estimates.ratio_interval``, of shares ``share_interval``); ``lost`` and ``gained``, the
        shares of answers that turned wrong and right, averaged over shuffles (their difference is
        A - A_perm); ``p_value`` of the null that the intact image is like any of its shuffles
        (``statistics.exchange_p``), NaN against own answers; ``n`` samples, of ``units`` that are
        drawn; ``permutations`` (attribute). ``answer_flips`` has each shuffle's own test.

    Raises:
        InputError: no column ``"original"``, no other, or one twice; a reference that is neither;
            no sample with an answer; infinite values.

    Source:
        Qi et al. 2025, "Beyond Semantics", arXiv:2503.17349; intervals, permutations and the
        corrected form are ours.

    Examples:
        >>> import xarray as xr
        >>> correct = xr.DataArray(
        ...     [[1, 0, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]],
        ...     dims=("sample", "permutation"),
        ...     coords={"permutation": ["original", "shuffle 0", "shuffle 1"]},
        ... )
        >>> found = vl.probes.position_sensitivity_index(correct).sel(category="overall")
        >>> found.accuracy.item(), found.accuracy_permuted.item(), found.psi.item()
        (1.0, 0.5, 50.0)
    """
    correct, (log_prob, kl) = graded(correct, log_prob, kl)
    names = [str(p) for p in correct["permutation"].values]
    if ORIGINAL not in names or len(names) < 2:
        raise InputError(f"PSI needs {ORIGINAL!r} and at least one permutation; there is: {names}")
    own = against_own(correct, reference)
    why_untested = untested(correct, correct.sel(permutation=ORIGINAL), reference)
    refuse_missing("correct", correct)
    chance = correct["chance"].values if "chance" in correct.coords else None
    groups = groups_of(correct)
    shuffled = [name for name in names if name != ORIGINAL]
    rows = []
    for member in groups.values():
        here = correct.isel(sample=member).transpose("sample", "permutation")
        intact = here.sel(permutation=ORIGINAL).values.astype(float)
        changed = here.sel(permutation=shuffled).values.astype(float)
        _, which = units_of(here, "sample", scene)
        row = _row(intact, changed, which, own)
        row["p_value"] = np.nan if why_untested else _p(intact, changed, which, seed)
        if chance is not None:
            row |= _above_chance(intact, changed, chance[member], which)
        row["lost"] = float(((intact[:, None] > 0) & (changed <= 0)).mean())
        row["gained"] = float(((intact[:, None] <= 0) & (changed > 0)).mean())
        if log_prob is not None:
            p = log_prob.isel(sample=member).transpose("sample", "permutation")
            fall = p.sel(permutation=ORIGINAL) - p.sel(permutation=shuffled).mean("permutation")
            row |= _mean("drop_log_prob", fall, which)
        if kl is not None:
            apart = kl.isel(sample=member).sel(permutation=shuffled).mean("permutation")
            row |= _mean("kl", apart, which)
        rows.append(row)
    unit, which = units_of(correct, "sample", scene)
    table = xr.Dataset(
        {name: ("category", [row[name] for row in rows]) for name in rows[0]},
        coords={"category": list(groups)},
        attrs=drawn_from(unit, int(which.max()) + 1)
        | {
            "source": "arXiv:2503.17349",
            "permutations": len(shuffled),
            "reference": OWN if own else GOLD,
            "interval": INTERVAL.format(unit),
            "test": why_untested or TEST.format(unit),
        },
    )
    if UNANSWERED in correct.attrs:
        table.attrs[UNANSWERED] = correct.attrs[UNANSWERED]
    if note := _note(unit, table):
        table.attrs["note"] = note
    table["psi"].attrs = {"units": "%", "long_name": "position sensitivity index"}
    return table


def groups_of(values: xr.DataArray) -> dict[str, Bool[np.ndarray, " sample"]]:
    """``"overall"`` and every category that samples name: which samples are in it.

    A category of that very name is ``"overall (category)"``.
    """
    size = values.sizes["sample"]
    names = [str(c) for c in values["category"].values] if "category" in values.coords else []
    groups = {OVERALL: np.ones(size, dtype=bool)}
    for name in sorted(set(names) - {""}):
        groups[f"{name} (category)" if name == OVERALL else name] = np.array(
            [c == name for c in names]
        )
    return groups


def _sums(
    values: Float[np.ndarray, " sample"], which: Int[np.ndarray, " sample"]
) -> Float[np.ndarray, "unit 1"]:
    """Sums over each unit's samples: (unit, 1)."""
    return np.bincount(which, weights=values)[:, None]


def _note(unit: str, table: xr.Dataset) -> str:
    """Which categories have too few units for their intervals, and for those of their means."""
    means = [name for name in ("drop_log_prob", "kl") if name in table]
    said: dict[str, list[str]] = {}
    for name, units in zip(table["category"].values, table["units"].values, strict=True):
        note = beware(unit, int(units)) if means or units < FEW else ""
        if note:
            about = "" if units < FEW else f" ({', '.join(means)})"
            said.setdefault(note, []).append(f"{name}{about}")
    return ". ".join(f"{', '.join(names)}: {note}" for note, names in said.items())


def _ends(name: str, found: Float[np.ndarray, "3 1"]) -> dict[str, float]:
    value, low, high = (float(x) for x in found[:, 0])
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _mean(name: str, values: xr.DataArray, which: Int[np.ndarray, " sample"]) -> dict[str, float]:
    """The mean of one number a sample, and its interval; NaN is left out."""
    x = values.values.astype(float)
    known = ~np.isnan(x)
    refuse_missing(name, values.isel(sample=known))
    sums, counts = _sums(np.where(known, x, 0.0), which), _sums(known.astype(float), which)
    return _ends(name, mean_interval(sums, counts))


def _row(
    intact: Float[np.ndarray, " sample"],
    changed: Float[np.ndarray, "sample shuffle"],
    which: Int[np.ndarray, " sample"],
    own: bool,
) -> dict[str, float]:
    a, count = (_sums(x, which) for x in (intact, np.ones(len(intact))))
    by_shuffle = np.concatenate([_sums(column, which) for column in changed.T], axis=1)
    every = count * changed.shape[1]  # answers to shuffled images, all of a question's together
    return {
        **_ends("psi", psi_interval(a, by_shuffle, count, own)),
        **_ends("accuracy", share_interval(a, count)),
        **_ends("accuracy_permuted", share_interval(by_shuffle.sum(1, keepdims=True), every)),
        "n": len(intact),
        "units": len(a),
    }


def _p(
    intact: Float[np.ndarray, " sample"],
    changed: Float[np.ndarray, "sample shuffle"],
    which: Int[np.ndarray, " sample"],
    seed: int,
) -> float:
    by_shuffle = np.concatenate([_sums(column, which) for column in changed.T], axis=1)
    return exchange_p(_sums(intact, which)[:, 0], by_shuffle, seed=seed)


def psi_interval(
    a: Float[np.ndarray, "unit 1"],
    shuffled: Float[np.ndarray, "unit shuffle"],
    count: Float[np.ndarray, "unit 1"],
    own: bool = False,
) -> Float[np.ndarray, "3 1"]:
    """PSI and its interval, in per cent: (3, 1).

    Args:
        a: every unit's right answers about intact images, (unit, 1).
        shuffled: the same about shuffled ones, (unit, shuffle).
        count: every unit's questions.
        own: all of ``a`` is right by construction: PSI is a share.

    Where every unit has the same, the interval is as wide as that of no answer of all changed.
    """
    b = shuffled.mean(1, keepdims=True)
    if own and np.array_equal(a, count):
        times = shuffled.shape[1]
        return 100 * share_interval(times * (count - b), times * count)
    if not a.sum():
        return np.full((3, 1), np.nan)
    found = 100 * ratio_interval(a - b, a, np.ones(a.shape, dtype=bool))
    if found[1] == found[2]:
        unseen = share_interval(np.zeros_like(a), count)[2]
        half = 100 * unseen * count.sum() / a.sum()
        found[1:] = found[0] - half, found[0] + half
    found[1] = np.minimum(found[1], _least(a, shuffled))
    found[2] = np.minimum(found[2], 100.0)  # accuracies are not below 0
    return found


def _least(a: Float[np.ndarray, "unit 1"], shuffled: Float[np.ndarray, "unit shuffle"]) -> float:
    """What PSI is at least if as many right answers survive as Wilson's interval of them allows.

    Where few survive, these few say little of how they vary, and Fieller's end is too near. A mean
    over shuffles of each one's own end, as if they told the same: they are about the same pictures.
    """
    most = share_interval(np.minimum(shuffled, a), np.broadcast_to(a, shuffled.shape))[2]
    return np.inf if np.isnan(most).any() else 100 * (1 - float(most.mean()))


def _above_chance(
    intact: Float[np.ndarray, " sample"],
    changed: Float[np.ndarray, "sample shuffle"],
    chance: Float[np.ndarray, " sample"],
    which: Int[np.ndarray, " sample"],
) -> dict[str, float]:
    a, by_chance = (_sums(x, which) for x in (intact, chance))
    shuffled = np.concatenate([_sums(column, which) for column in changed.T], axis=1)
    b = shuffled.mean(1, keepdims=True)
    found = np.full((3, 1), np.nan)
    if a.sum() - by_chance.sum() > 1e-9:
        found = 100 * ratio_interval(a - b, a - by_chance, np.ones(a.shape, dtype=bool))
        if found[1] == found[2]:
            half = psi_interval(a, a, _sums(np.ones(len(intact)), which))[2]
            found[1:] = found[0] - half, found[0] + half
        found[1] = np.minimum(found[1], _least(a, shuffled) * a.sum() / (a.sum() - by_chance.sum()))
    return {"chance": chance.mean(), **_ends("psi_corrected", found)}
