"""Tables of edges, read: their means, and what graph they are of."""

import numpy as np
import xarray as xr

from vlmlens.checks import shown
from vlmlens.errors import InputError


def mean_of(edges: xr.DataArray) -> xr.DataArray:
    """A table's mean over samples that have an edge; NaN where none has.

    Raises:
        InputError: no table of edges.
    """
    if not isinstance(edges, xr.DataArray) or not {"writer", "reader"} <= set(edges.dims):
        raise InputError(
            f"edges={shown(edges)}: a table (sample, writer, reader) is wanted, as "
            "experiments.edges returns it"
        )
    table = edges.transpose(..., "writer", "reader")
    if len(table.dims) == 2:
        return table
    if table.dims[0] != "sample" or len(table.dims) > 3:
        raise InputError(
            f"edges has the dimensions {table.dims}; sample, writer, reader are wanted"
        )
    there = np.isfinite(table.values)
    count = there.sum(0)
    total = np.where(there, table.values, 0.0).sum(0)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return table.isel(sample=0, drop=True).copy(data=mean)


def graph_of(edges: xr.DataArray) -> tuple[tuple[str, ...], int]:
    """The places that a table's nodes are split by, and how many heads share keys."""
    places = dict.fromkeys(str(place) for place in edges["reader_place"].values)
    return tuple(place for place in places if place), int(edges["grouped"])
