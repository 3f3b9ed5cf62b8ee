"""One file a cell: which are done, which are left."""

import os
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from vlmlens.errors import DataError


@dataclass(frozen=True)
class Store:
    """A folder of finished cells, named by their keys.

    Attributes:
        folder: where; made when the first cell is written.
    """

    folder: Path

    def path(self, key: str) -> Path:
        """Where a cell's result lies, once it is there."""
        return self.folder / f"{key}.nc"

    def has(self, key: str) -> bool:
        """Whether a cell is done."""
        return self.path(key).is_file()

    def read(self, key: str) -> xr.Dataset:
        """A finished cell.

        Raises:
            DataError: a file that does not open; delete it and the cell is run again.
        """
        return read(self.path(key))

    def write(self, key: str, result: xr.Dataset) -> None:
        """Keep a cell: written beside its place and renamed, so a file that exists is whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write(result, self.path(key))


def read(path: Path) -> xr.Dataset:
    """A dataset from netCDF, all of it in memory.

    Raises:
        DataError: there is no such file, or it does not open.
    """
    try:
        return xr.load_dataset(path, engine="h5netcdf")
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} does not open as a result ({error}); delete it and run again"
        ) from error


def write(data: xr.Dataset, path: Path) -> Path:
    """Write netCDF beside its place and rename it, so a file that exists is whole."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        data.to_netcdf(part, engine="h5netcdf")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path
