"""From every sample's numbers to means that can be believed: intervals, tests, corrections."""

import numpy as np
import xarray as xr

from vlmlens.annotations import checked
from vlmlens.probes.statistics import map_test, mean_map

#: What a variable is tested against: a number, or another variable of the same table.
NULLS: dict[str, float | str] = {
    "cmb": "cmb_uniform",
    "aei": 1.0,
    "delta_g_v": 0.0,
    "delta_g_t": 0.0,
    "delta_alpha_v": 0.0,
    "delta_alpha_v_by_text": 0.0,
    "eq11_residual": 0.0,
    "slope_g_v": 0.0,
    "slope_alpha_v": 0.0,
    "curve_delta_alpha_v": 0.0,
    "curve_delta_g_v": 0.0,
    "band_delta_g_v": 0.0,
    "image_column": 0.5,
    "image_row": 0.5,
    "object_lift": 1.0,
    "object_auroc": 0.5,
}
#: Variables that PSI and its kin answer for, over their own dimensions.
ANSWERS = ("correct", "log_prob", "kl", "agree", "top_drop")


@checked
def summarise(
    results: xr.Dataset,
    *,
    correction: str = "max",
    scene: str | bool | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """The mean over samples of every variable, its interval, and its test where it has a null.

    Args:
        results: of ``diagnose``: variables over ``sample``.
        correction: of p over all the cells of one variable: ``"max"``, ``"fdr"`` or ``"none"``.
        scene: a coordinate of ``sample``; questions about one scene are drawn together. By
            default ``picture``, where it is there; ``False``: every question is drawn alone.
        seed: of tests.

    Returns:
        For every variable x: ``x``, ``x_low``, ``x_high`` (95 %, each cell's own) and ``x_n``, how
        many samples, or pictures, it is the mean of; for those in ``NULLS`` also ``x_p``
        (corrected), ``x_significant`` and ``x_effect`` (Cohen's d of the deviation from the null).
        Infinite ratios are left out; the attribute ``infinite`` says how many. Every variable's
        attributes say what is drawn, which correction it has, and against what it was tested.

    Examples:
        >>> import xarray as xr
        >>> norms = xr.DataArray([[1.0, 2.0], [3.0, 4.0], [2.0, 6.0]], dims=("sample", "layer"))
        >>> found = vl.experiments.summarise(norms.to_dataset(name="hidden_norm"))
        >>> list(found), found.hidden_norm.values.tolist()
        (['hidden_norm', 'hidden_norm_low', 'hidden_norm_high', 'hidden_norm_n'], [2.0, 4.0])
    """
    table: dict[str, xr.DataArray] = {}
    for name in map(str, results):
        values = results[name]
        if "sample" not in values.dims or values.dtype.kind not in "fiub" or name in ANSWERS:
            continue
        values = values.astype(float)
        infinite = int(np.isinf(values).sum())
        values = values.where(np.isfinite(values))
        null = NULLS.get(name)
        if null is None:
            found = mean_map(values, scene=scene)
            parts = {"": "mean", "_low": "low", "_high": "high", "_n": "n"}
        else:
            against = results[null] if isinstance(null, str) else null
            found = map_test(
                values, against, correction=correction, scene=scene, seed=seed, warn=False
            )
            parts = {"": "mean", "_low": "low", "_high": "high", "_n": "n"}
            parts |= {"_p": "p_corrected", "_significant": "significant", "_effect": "effect"}
        said = {k: str(v) for k, v in found.attrs.items() if k not in ("units", "long_name")}
        if infinite:
            said["infinite"] = f"{infinite} of {values.size} values, left out"
        for suffix, part in parts.items():
            cell = found[part].reset_coords(drop=True)
            cell.attrs = said | ({} if null is None else {"null": str(null)})
            if part in ("mean", "low", "high"):
                cell.attrs["correction"] = "none: every interval is its cell's own"
                cell.attrs |= {
                    k: values.attrs[k] for k in ("units", "long_name") if k in values.attrs
                }
            table[f"{name}{suffix}"] = cell.astype(float) if part == "significant" else cell
    attrs = dict(results.attrs) | {"correction": correction}
    return xr.Dataset(table, attrs=attrs)
