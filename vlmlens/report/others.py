"""Measurements that the page has no words of its own for: a table, and the figure that fits."""

from collections.abc import Callable
from dataclasses import dataclass

import plotly.graph_objects as go
import xarray as xr

from vlmlens import plots
from vlmlens.plots.arrays import entries, mean_interval
from vlmlens.report.written import Estimate, over_samples

#: What the page's own sections are about, and what belongs to them.
CLAIMED = {"cmb", "cmb_uniform", "alpha_v", "delta_g_v", "delta_alpha_v", "eq11_residual"}
CLAIMED |= {"identity_residual", "hidden_norm", "seen", "correct", "log_prob", "category", "chance"}
#: Dimensions that make rows of a table, the first that is there.
ROWS = ("intervention", "permutation", "model", "dose", "delta", "part", "role", "step")
AXES = frozenset(("sample", "layer", "head", "depth", "row", "column", *ROWS))
MOST_ROWS, MOST_MAPS = 24, 4


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
    """

    name: str
    title: str
    source: str
    by: str
    rows: tuple[tuple[str, Estimate], ...]
    left_out: int
    figure: go.Figure | None
    dims: str


def others(results: xr.Dataset, claimed: set[str]) -> list[Other]:
    """Every numeric variable that no other section has claimed, in its order.

    Pictures and whatever else has axes of its own are no measurements, and left out.
    """
    return [
        _other(str(name), values)
        for name, values in results.data_vars.items()
        if name not in claimed and values.dtype.kind in "fiub" and set(values.dims) <= AXES
    ]


def _other(name: str, values: xr.DataArray) -> Other:
    values = values.astype(float)
    by = next((dim for dim in ROWS if dim in values.dims), "")
    names = entries(values, by) if by else ["all"]
    parts = [values.isel({by: at}) for at in range(len(names))] if by else [values]
    rows = [(label, over_samples(part)) for label, part in zip(names, parts, strict=True)]
    return Other(
        name,
        _title(values),
        str(values.attrs.get("source", "")),
        by,
        tuple(rows[:MOST_ROWS]),
        max(0, len(rows) - MOST_ROWS),
        figure(values),
        " x ".join(f"{size} {dim}" for dim, size in values.sizes.items()),
    )


def figure(values: xr.DataArray) -> go.Figure | None:
    """The figure that draws such dimensions, or None."""
    inner = frozenset(str(dim) for dim in values.dims if dim != "sample")
    more = next((dim for dim in ROWS if dim in inner and values.sizes[dim] <= MOST_MAPS), None)
    choices: dict[frozenset[str], Callable[[], go.Figure]] = {
        frozenset({"layer", "head"}): lambda: plots.heads(values, midpoint=_midpoint(values)),
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
            frozenset({"layer", "head", more}): lambda: plots.heads(
                values, by=more, midpoint=_midpoint(values)
            ),
            frozenset({"layer", more}): lambda: plots.depth(values, by=more),
            frozenset({"depth", more}): lambda: plots.depth(values, by=more),
        }
        choices = several | choices
    return choices[inner]() if inner in choices else None


def _sums_to_one(values: xr.DataArray, part: str) -> bool:
    total = values.sum(part, skipna=False)
    return bool((abs(total - 1) < 1e-3).where(total.notnull(), True).all())


def _title(values: xr.DataArray) -> str:
    """``long name [units]``; the page escapes it."""
    name, units = values.attrs.get("long_name") or values.name, values.attrs.get("units")
    return f"{name} [{units}]" if units not in (None, "", "1") else str(name)


def _midpoint(values: xr.DataArray) -> float | None:
    """0 for values on both sides of it."""
    return 0.0 if float(values.min()) < 0 < float(values.max()) else None


def _mean(values: xr.DataArray) -> xr.DataArray:
    return mean_interval(values)["mean"].assign_attrs(values.attrs)
