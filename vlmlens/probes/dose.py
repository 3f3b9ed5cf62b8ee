"""Dose and response: how a measure changes as an intervention is given more of."""

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy import stats

from vlmlens.annotations import checked
from vlmlens.draws import by_scene, units_of
from vlmlens.errors import InputError
from vlmlens.estimates import are_answers
from vlmlens.probes.graded import GOLD, OWN, against_own, untested
from vlmlens.probes.statistics import map_test, mean_map

#: Above so many units Page's L is as good as normal; up to it orders are drawn.
DRAWN_UP_TO, DRAWS = 20, 9999


@checked
def dose_response(
    values: xr.DataArray,
    *,
    scene: str | bool | None = None,
    reference: str | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """The mean at every dose, the slope, and whether the response is monotone.

    The slope is that of every sample's own least-squares line, so a sample's level cancels:

        slope = mean over samples of  sum (dose - mean dose) value / sum (dose - mean dose)^2

    Args:
        values: (sample, dose) with numbers as the coordinate ``dose``: the share of tokens that
            are shuffled, RoPE steps, a factor. A dose may come several times (several seeds):
            these are averaged within the sample first. Answers, 0 or 1, have the intervals of
            shares (``mean_map``).
        scene: a coordinate of ``sample``; samples of one scene are drawn together. By default
            ``picture``, where it is there; ``False``: every sample alone.
        reference: ``"gold"`` or ``"own"``: the values are answers held against the model's own
            without any dose, or log-probabilities of these; by default the attribute of
            ``values``, else gold.
        seed: of tests.

    Returns:
        ``mean``, ``low``, ``high``, ``n`` over ``dose``, increasing, in the values' units; and
        without a dimension ``slope``, ``slope_low``, ``slope_high`` (units per dose), ``slope_p``
        (that the mean slope is 0, ``map_test``), ``trend_p`` (Page's test that responses fall, or
        rise, in the doses' order; two-sided, NaN for fewer than three doses or two units). Page's
        L is that of mid-ranks, and its null is the doses in any order within each unit: equal
        responses and samples of one scene are allowed for. Against own answers there is no p,
        since no dose is like none at all; of answers there is ``changed``, ``changed_low``,
        ``changed_high``: the share that each dose changes.

    Raises:
        InputError: no dose that is a number, or only one dose, or missing or infinite values; a
            reference that is neither.

    Source: Page 1963, "Ordered hypotheses for multiple treatments".

    Examples:
        >>> import xarray as xr
        >>> values = xr.DataArray(
        ...     [[1.0, 0.8, 0.6], [0.9, 0.7, 0.5]],
        ...     dims=("sample", "dose"),
        ...     coords={"dose": [0.0, 0.5, 1.0]},
        ... )
        >>> found = vl.probes.dose_response(values)
        >>> found["mean"].values.round(2).tolist(), round(found.slope.item(), 2)
        ([0.95, 0.75, 0.55], -0.4)
    """
    if set(values.dims) != {"sample", "dose"} or values["dose"].dtype.kind not in "iuf":
        raise InputError(f"a response is (sample, dose) with numbers for doses, not {values.dims}")
    lacking = int((~np.isfinite(values.astype(float))).sum())
    if lacking:
        raise InputError(
            f"every sample needs a value at every dose; {lacking} of {values.size} are missing or "
            "infinite"
        )
    table = values.groupby("dose").mean("dose").transpose("sample", "dose")
    doses = table["dose"].values.astype(float)
    if len(doses) < 2:
        raise InputError(f"a response needs two doses at least; there is {doses.tolist()}")
    slopes = table.isel(dose=0, drop=True).copy(data=_slopes(table.values.astype(float), doses))
    slope = map_test(slopes, scene=scene, correction="none", seed=seed, shares=False, warn=False)
    answers = are_answers(values.values.astype(float))
    own = against_own(values, reference)
    intact = table.isel(dose=int(np.abs(doses).argmin()))
    why_untested = untested(values, intact, reference) if own or answers else ""
    found = mean_map(table, scene=scene, shares=answers)
    for name, part in {"": "mean", "_low": "low", "_high": "high", "_p": "p"}.items():
        found[f"slope{name}"] = slope[part]
    ranks = table.copy(data=stats.rankdata(table.values, axis=1)).transpose("sample", "dose")
    by_unit, _ = by_scene(ranks, "sample", scene)
    found["trend_p"] = _trend(by_unit, seed) if len(doses) > 2 and len(by_unit) > 1 else np.nan
    unit, _ = units_of(table, "sample", scene)
    how = "normal" if len(by_unit) > DRAWN_UP_TO else f"Monte Carlo, {DRAWS + 1}"
    found.attrs |= {
        "reference": OWN if own else GOLD,
        "test": why_untested or slope.attrs["test"],
        "trend_test": why_untested or f"Page's L over {unit}s, two-sided, {how}",
    }
    if note := slope.attrs.get("note"):
        found.attrs["note"] = note
    if why_untested:
        for name in ("slope_p", "trend_p"):
            found[name] = xr.full_like(found[name], np.nan)
    if own and answers:
        for name, part in {"": "mean", "_low": "high", "_high": "low"}.items():
            found[f"changed{name}"] = 1 - found[part]
    return found


def _slopes(
    x: Float[np.ndarray, "sample dose"], doses: Float[np.ndarray, " dose"]
) -> Float[np.ndarray, " sample"]:
    centred = doses - doses.mean()
    return x @ centred / (centred**2).sum()


def _trend(ranks: Float[np.ndarray, "unit dose"], seed: int) -> float:
    """Two-sided p of Page's L, under every order of a unit's ranks (those of its samples summed).

    For each unit L has mean 0 about its mean rank, and the variance sum (j - mean j)^2 sum (r -
    mean r)^2 / (k - 1): with ties less than Page's.
    """
    order = np.arange(ranks.shape[1]) - (ranks.shape[1] - 1) / 2
    centred = ranks - ranks.mean(1, keepdims=True)
    seen = abs(float((centred @ order).sum()))
    variance = (order**2).sum() * (centred**2).sum() / (len(order) - 1)
    if variance == 0:
        return 1.0
    if len(ranks) > DRAWN_UP_TO:
        return float(2 * stats.norm.sf(seen / np.sqrt(variance)))
    rng = np.random.default_rng(seed)
    drawn = rng.permuted(np.broadcast_to(centred, (DRAWS, *centred.shape)), axis=2)
    reached = (np.abs((drawn @ order).sum(1)) >= seen * (1 - 1e-9) - 1e-9).sum()
    return float((reached + 1) / (DRAWS + 1))
