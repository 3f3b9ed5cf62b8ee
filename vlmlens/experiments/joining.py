"""Tables along a new dimension."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr

from vlmlens.errors import DataError
from vlmlens.layout import EDGES

#: Axes of maps, which are as long as the largest grid of those that are together.
GRID = ("row", "column")


def joined(
    tables: Sequence[xr.Dataset],
    dimension: str,
    names: Sequence[str] = (),
    *,
    join: Literal["exact", "outer"] = "exact",
) -> xr.Dataset:
    """Tables of the same variables, one after another.

    Args:
        tables: what is joined; attributes that they share are kept.
        dimension: what the new (or grown) dimension is called.
        names: its entries.
        join: ``"exact"`` refuses tables whose other dimensions differ; ``"outer"`` fills with NaN,
            and with ``""`` where there are words.
    """
    words = {str(n): "" for table in tables for n in table if table[n].dtype.kind == "U"}
    filled: Any = words if words and join == "outer" else np.nan
    whole = xr.concat(
        list(tables),
        dimension,
        data_vars="all",
        coords="minimal",
        compat="override",
        join=join,
        combine_attrs="drop_conflicts",
        fill_value=filled,
    )
    for name in words:
        whole[name] = whole[name].astype(str)
    return whole.assign_coords({dimension: list(names)}) if names else whole


def along_samples(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Batches' tables as one; maps have the largest picture's grid, whatever batch it was in.

    Raises:
        DataError: another axis that is longer, or labelled otherwise, in one than in another.
    """
    try:
        return _along_samples(parts)
    except ValueError as error:  # as every xarray says it
        raise DataError(
            f"what was measured of the samples is no one table: {error}. Let the measure fill "
            "every sample's list up to one length (with NaN), or make one number of it"
        ) from error


def _along_samples(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    how: Any = {"data_vars": "all", "coords": "minimal", "compat": "override"}
    axes = [axis for axis in GRID if all(axis in p.dims and axis not in p.coords for p in parts)]
    if all(len({part.sizes[axis] for part in parts}) == 1 for axis in axes):
        return _cut(xr.concat(list(parts), "sample", join="exact", **how))
    words = {str(n): "" for part in parts for n in part if part[n].dtype.kind == "U"}
    # Counted for a moment, so that smaller grids are filled at the right and at the bottom.
    counted = [p.assign_coords({axis: range(p.sizes[axis]) for axis in axes}) for p in parts]
    whole = xr.concat(counted, "sample", join="outer", fill_value=words or np.nan, **how)
    for name in words:
        whole[name] = whole[name].astype(str)
    return _cut(whole.drop_vars(axes))


def _cut(table: xr.Dataset) -> xr.Dataset:
    """A table without the rows and columns that lie beyond every picture's grid."""
    if EDGES[0] not in table.coords:
        return table
    there = table[EDGES[0]].notnull()
    for axis in GRID:
        if axis in there.dims and axis in table.dims and axis not in table.coords:
            others = [dim for dim in there.dims if dim != axis]
            used = np.flatnonzero(there.any(others).values)
            table = table.isel({axis: slice(int(used[-1]) + 1 if len(used) else None)})
    return table
