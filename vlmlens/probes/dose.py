"""Dose and response: how a measure changes as an intervention is given more of."""

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy import stats

from vlmlens.errors import InputError
from vlmlens.probes.statistics import map_test, mean_map


def dose_response(values: xr.DataArray, *, scene: str | None = None, seed: int = 0) -> xr.Dataset:
    """The mean at every dose, the slope, and whether the response is monotone.

    The slope is that of every sample's own least-squares line, so a sample's level cancels:

        slope = mean over samples of  sum (dose - mean dose) value / sum (dose - mean dose)^2

    Args:
        values: (sample, dose) with numbers as the coordinate ``dose``: the share of tokens that
            are shuffled, RoPE steps, a factor. A dose may come several times (several seeds):
            these are averaged within the sample first.
        scene: a coordinate of ``sample``; samples of one scene are resampled together.
        seed: of intervals and tests.

    Returns:
        ``mean``, ``low``, ``high``, ``n`` over ``dose``, increasing, in the values' units; and
        without a dimension ``slope``, ``slope_low``, ``slope_high`` (units per dose), ``slope_p``
        (sign flips over samples), ``trend_p`` (Page's test that responses fall, or rise, in the
        doses' order; two-sided, NaN for fewer than three doses or where ``scene`` is given).

    Raises:
        InputError: no dose that is a number, or only one dose, or missing values.

    Source: Page 1963, "Ordered hypotheses for multiple treatments".
    """
    if set(values.dims) != {"sample", "dose"} or values["dose"].dtype.kind not in "iuf":
        raise InputError(f"a response is (sample, dose) with numbers for doses, not {values.dims}")
    if bool(values.isnull().any()):
        raise InputError("every sample needs a value at every dose; some are missing")
    table = values.groupby("dose").mean("dose").transpose("sample", "dose")
    doses = table["dose"].values.astype(float)
    if len(doses) < 2:
        raise InputError(f"a response needs two doses at least; there is {doses.tolist()}")
    slopes = table.isel(dose=0, drop=True).copy(data=_slopes(table.values.astype(float), doses))
    slope = map_test(slopes, scene=scene, correction="none", seed=seed)
    found = mean_map(table, scene=scene, seed=seed)
    for name, part in {"": "mean", "_low": "low", "_high": "high", "_p": "p"}.items():
        found[f"slope{name}"] = slope[part]
    ordered = len(doses) > 2 and scene is None and table.sizes["sample"] > 1
    found["trend_p"] = _trend(table.values.astype(float)) if ordered else np.nan
    found.attrs |= {"test": slope.attrs["test"], "trend_test": "Page's L, two-sided"}
    return found


def _slopes(
    x: Float[np.ndarray, "sample dose"], doses: Float[np.ndarray, " dose"]
) -> Float[np.ndarray, " sample"]:
    centred = doses - doses.mean()
    return x @ centred / (centred**2).sum()


def _trend(x: Float[np.ndarray, "sample dose"]) -> float:
    rising, falling = (stats.page_trend_test(side).pvalue for side in (x, x[:, ::-1]))
    return float(min(1.0, 2 * min(rising, falling)))
