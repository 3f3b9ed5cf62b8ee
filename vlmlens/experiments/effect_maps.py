"""Effect maps: what a sweep found, by layer and place."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from vlmlens.errors import DataError
from vlmlens.experiments.units import Label
from vlmlens.layout import TokenLayout


def effect_map(
    values: Float[np.ndarray, "layer place"],
    layers: Sequence[int | None],
    labels: Sequence[Label],
    dims: Sequence[str],
) -> xr.DataArray:
    r"""Values (layer, place) with names: (layer, \*dims), a dimension for each part of a label.

    Without ``layer`` for a point that exists once. Cells that were left out are NaN.
    """
    known = [_entries([label[n] for label in labels]) for n in range(len(dims))]
    grid = np.full((len(layers), *map(len, known)), np.nan)
    at = [[known[n].index(label[n]) for label in labels] for n in range(len(dims))]
    grid[(slice(None), *at)] = values if dims else values[:, 0]
    coords = {"layer": list(layers), **dict(zip(dims, known, strict=True))}
    found = xr.DataArray(grid, dims=("layer", *dims), coords=coords, name="effect")
    return found.isel(layer=0, drop=True) if list(layers) == [None] else found


def _entries(parts: Sequence[int | str]) -> list[int | str]:
    """What is along one dimension: numbers in order, words as they come."""
    own = list(dict.fromkeys(parts))
    return sorted(own) if all(isinstance(part, int) for part in own) else own


def with_words(effect: xr.DataArray, layout: TokenLayout) -> xr.DataArray:
    """A map over positions, with what every position is and where it looks."""
    at = effect["pos"].values
    marks = {name: getattr(layout, name)[at] for name in ("image", "tile", "row", "column")}
    marks |= {name: size[at] for name, size in layout.spans().items()}
    words = {"token": [layout.tokens[i] for i in at], "role": [layout.roles[i] for i in at]}
    return effect.assign_coords({name: ("pos", each) for name, each in (words | marks).items()})


def joined(tables: Sequence[xr.DataArray], names: Sequence[str | int]) -> xr.DataArray:
    """All samples in one array, by their names; places that one of them lacks are NaN there.

    Raises:
        DataError: positions of prompts that differ in length.
    """
    tables = [each.assign_coords(sample=[name]) for each, name in zip(tables, names, strict=True)]
    if "pos" in tables[0].dims and len(tables) > 1:
        if len({table.sizes["pos"] for table in tables}) > 1:
            raise DataError(
                "the prompts differ in length, so their positions are not the same ones: sweep "
                "them one by one, or over='role'"
            )
        words = np.array([table["token"].values for table in tables])
        same = np.where((words == words[0]).all(0), words[0], "…")
        tables = [table.assign_coords(token=("pos", same)) for table in tables]
    how: Any = {"coords": "minimal", "compat": "override", "combine_attrs": "override"}
    whole = sum(table.attrs["whole_passes"] for table in tables)
    return xr.concat(tables, "sample", join="outer", **how).assign_attrs(whole_passes=whole)
