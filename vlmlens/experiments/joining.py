"""Tables along a new dimension."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr


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
    """Batches' tables as one."""
    return xr.concat(
        list(parts), "sample", join="exact", data_vars="all", coords="minimal", compat="override"
    )
