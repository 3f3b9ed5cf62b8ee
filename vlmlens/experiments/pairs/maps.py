"""Whole maps beside the finished cells of a folder, and how a map is opened again."""

from pathlib import Path

import xarray as xr

from vlmlens.errors import DataError
from vlmlens.experiments.files import MAPS, read, write
from vlmlens.experiments.pairs.told import ASKED, PAIR
from vlmlens.identity import value
from vlmlens.store import make


def keep_map(table: xr.DataArray, folder: Path) -> Path:
    """Write a map into the folder where its cells are, in the place of the same one.

    Raises:
        DataError: it cannot be written.
    """
    about = (table.attrs.get(ASKED), [str(each) for each in table[PAIR].values])
    make(folder / MAPS)
    path = folder / MAPS / f"{value(about)[:12]}.nc"
    return write(table.to_dataset(name=str(table.name)), path)


def open_map(given: Path | str | xr.DataArray | xr.Dataset) -> xr.DataArray:
    """A map of a table, of a file, or of a folder that ``sweep`` or ``path_patch`` was given.

    Raises:
        DataError: none there, or several.
    """
    if isinstance(given, xr.DataArray):
        return given
    if not isinstance(given, xr.Dataset):
        given = read(given)
    if len(given.data_vars) != 1:
        raise DataError(
            f"a map is one table; this holds {', '.join(map(str, given.data_vars)) or 'none'}"
        )
    return next(iter(given.data_vars.values()))
