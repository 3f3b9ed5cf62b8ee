"""Measurements that the page has no words of its own for: a table, and the figure that fits."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from vlmlens import plots
from vlmlens.experiments.summary import NULLS
from vlmlens.plots.arrays import entries, mean_interval
from vlmlens.plots.cells import ALPHA
from vlmlens.report.written import Estimate, over_samples

#: What the page's own sections are about, and what belongs to them.
CLAIMED = {"cmb", "cmb_uniform", "alpha_v", "delta_g_v", "delta_alpha_v", "eq11_residual"}
CLAIMED |= {"identity_residual", "hidden_norm", "seen", "correct", "log_prob", "category", "chance"}
CLAIMED |= {"curve_eq11_residual"}  # a check of numbers, which the section on rotation tells of
#: Dimensions that make rows of a table, the first that is there.
ROWS = ("intervention", "permutation", "model", "dose", "delta", "part", "role", "step")
AXES = frozenset(("sample", "layer", "head", "depth", "row", "column", *ROWS))
MOST_ROWS, MOST_MAPS = 24, 4
#: Values that are neutral, of measurements that have one.
MIDPOINTS = {name: null for name, null in NULLS.items() if isinstance(null, int | float)}
MIDPOINTS |= {"per_token": 1.0, "mdi": 1.0, "vision_of_both": 0.5, "cmb": 0.5}
#: From this ratio of the largest to the smallest on, a map of ratios has a logarithmic scale.
WIDE = 50.0
#: Names that the measurement's own leaves unsaid.
TITLES = {
    "delta_g_t": "mean change of the other keys' scores, delta g_T",
    "lens_log_prob": "log probability of the right answer, read off each layer",
}


@dataclass(frozen=True, eq=False)
class Other:
    """One measurement: what it is called, its table and its figure.

    Attributes:
        name: of the variable.
        title: its long name and units.
        source: where it comes from, if it says so.
        by: the dimension of the table's rows, or nothing.
        rows: each row's name and its mean with an interval over samples.
        left_out: how many rows the table has no room for.
        figure: or None where no figure draws such dimensions.
        dims: the dimensions, in words.
        differ: how many cells a corrected test tells from the neutral value; or nothing.
        infinite: how many values are infinite, which means and figures leave out.
    """

    name: str
    title: str
    source: str
    by: str
    rows: tuple[tuple[str, Estimate], ...]
    left_out: int
    figure: go.Figure | None
    dims: str
    differ: str = ""
    infinite: int = 0


def others(results: xr.Dataset, claimed: set[str], tests: xr.Dataset | None = None) -> list[Other]:
    """Every numeric variable that no other section has claimed, in its order.

    Pictures and whatever else has axes of its own are no measurements, and left out.

    Args:
        results: measurements over ``sample``.
        claimed: names that are told of elsewhere.
        tests: means with corrected tests, as ``experiments.summarise`` returns.
    """
    return [
        _other(str(name), values, corrected(tests, str(name)))
        for name, values in results.data_vars.items()
        if name not in claimed and values.dtype.kind in "fiub" and set(values.dims) <= AXES
    ]


def corrected(tests: xr.Dataset | None, name: str) -> xr.Dataset | None:
    """One measurement's means, intervals and corrected p, as maps take them; None without."""
    if tests is None or f"{name}_p" not in tests:
        return None
    parts = {"mean": "", "low": "_low", "high": "_high", "n": "_n", "p_corrected": "_p"}
    found = xr.Dataset({part: tests[f"{name}{suffix}"] for part, suffix in parts.items()})
    return found.assign_attrs(tests[f"{name}_p"].attrs)


def differ(test: xr.Dataset | None) -> str:
    """How many cells a test tells from its null, in words; nothing without a test."""
    if test is None:
        return ""
    p = test["p_corrected"]
    null = str(test.attrs.get("null", ""))
    against = "even attention" if null == "cmb_uniform" else null.removesuffix(".0") or "its null"
    return f"{int((p < ALPHA).sum())} of {int(p.notnull().sum())} differ from {against}"


def _other(name: str, values: xr.DataArray, test: xr.Dataset | None) -> Other:
    values = values.astype(float)
    infinite = int(np.isinf(values).sum())
    values = values.where(~np.isinf(values))
    by = next((dim for dim in ROWS if dim in values.dims), "")
    names = entries(values, by) if by else ["all"]
    parts = [values.isel({by: at}) for at in range(len(names))] if by else [values]
    rows = [(label, over_samples(part)) for label, part in zip(names, parts, strict=True)]
    return Other(
        name,
        _title(name, values),
        str(values.attrs.get("source", "")),
        by,
        tuple(rows[:MOST_ROWS]),
        max(0, len(rows) - MOST_ROWS),
        figure(values, name, test),
        " x ".join(f"{size} {dim}" for dim, size in values.sizes.items()),
        differ(test),
        infinite,
    )


def figure(
    values: xr.DataArray, name: str = "", test: xr.Dataset | None = None
) -> go.Figure | None:
    """The figure that draws such dimensions, or None; a tested map has its dots."""
    inner = frozenset(str(dim) for dim in values.dims if dim != "sample")
    more = next((dim for dim in ROWS if dim in inner and values.sizes[dim] <= MOST_MAPS), None)
    cells = values if test is None else test
    scale: dict[str, Any] = {"midpoint": MIDPOINTS.get(name), "log": _wide(values)}
    choices: dict[frozenset[str], Callable[[], go.Figure]] = {
        frozenset({"layer", "head"}): lambda: plots.heads(cells, **scale),
        frozenset({"layer"}): lambda: plots.depth(values),
        frozenset({"depth"}): lambda: plots.depth(values),
        frozenset({"layer", "head", "row", "column"}): lambda: plots.atlas(_mean(values)),
    }
    part = next((dim for dim in ("part", "role") if inner == {dim}), None)
    if part is not None and _sums_to_one(values, part):
        return plots.shares(values)
    if inner == {"dose"} and values["dose"].dtype.kind in "iuf":
        return plots.dose(values)
    if more is not None:
        several = {
            frozenset({"layer", "head", more}): lambda: plots.heads(cells, by=more, **scale),
            frozenset({"layer", more}): lambda: plots.depth(values, by=more),
            frozenset({"depth", more}): lambda: plots.depth(values, by=more),
        }
        choices = several | choices
    return choices[inner]() if inner in choices else None


def _wide(values: xr.DataArray) -> bool:
    """Whether these are ratios of many sizes, all above 0."""
    if values.attrs.get("units") != "ratio":
        return False
    cells = values.mean("sample") if "sample" in values.dims else values
    low, high = float(cells.min()), float(cells.max())
    return low > 0 and WIDE * low < high


def _sums_to_one(values: xr.DataArray, part: str) -> bool:
    total = values.sum(part, skipna=False)
    return bool((abs(total - 1) < 1e-3).where(total.notnull(), True).all())


def _title(name: str, values: xr.DataArray) -> str:
    """``long name [units]``; the page escapes it."""
    said, units = values.attrs.get("long_name") or values.name, values.attrs.get("units")
    said = TITLES.get(name, said)
    return f"{said} [{units}]" if units not in (None, "", "1") else str(said)


def _mean(values: xr.DataArray) -> xr.DataArray:
    return mean_interval(values)["mean"].assign_attrs(values.attrs)
