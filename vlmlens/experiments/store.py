"""One file a cell: which are done, which are left."""

import errno
import json
import logging
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from vlmlens.errors import DataError
from vlmlens.experiments.files import read, sweep_parts, write
from vlmlens.identity import value

LOG = logging.getLogger(__name__)
#: What a cell's file says of itself.
KEY, IDS, CONTENT = "vlmlens_key", "vlmlens_samples", "vlmlens_content"


@dataclass(frozen=True)
class Store:
    """A folder of finished cells, named by their keys.

    Every file says whose cell it is and what it holds: one that was renamed, cut or damaged is
    missing, which is said, and is computed again.

    Attributes:
        folder: where; made by ``open``, or when the first cell is written.

    Example:
        >>> import xarray as xr
        >>> from pathlib import Path
        >>> from vlmlens.experiments import Store
        >>> store = Store(Path("results"))
        >>> store.write("a1b2", xr.Dataset({"correct": ("sample", [1.0, 0.0])}))
        >>> store.has("a1b2"), store.read("a1b2").correct.values.tolist(), store.read("c3d4")
        (True, [1.0, 0.0], None)
    """

    folder: Path

    def path(self, key: str) -> Path:
        """Where a cell's result lies, once it is there.

        Example:
            >>> from pathlib import Path
            >>> from vlmlens.experiments import Store
            >>> Store(Path("results")).path("a1b2").as_posix()
            'results/a1b2.nc'
        """
        return self.folder / f"{key}.nc"

    def has(self, key: str) -> bool:
        """Whether there is a file for a cell.

        Example:
            >>> from pathlib import Path
            >>> from vlmlens.experiments import Store
            >>> Store(Path("results")).has("a1b2")
            False
        """
        return self.path(key).is_file()

    def open(self) -> str:
        """Make the folder, and clear away what broken-off runs left half written.

        Returns:
            "", or why nothing can be written into it, though what is there can be read.

        Raises:
            DataError: there can be no such folder.

        Example:
            >>> from pathlib import Path
            >>> from vlmlens.experiments import Store
            >>> Store(Path("results")).open(), Path("results").is_dir()
            ('', True)
        """
        make(self.folder)
        if reason := unwritable(self.folder):
            return reason
        sweep_parts(self.folder)
        return ""

    def read(self, key: str, ids: Sequence[str] | None = None) -> xr.Dataset | None:
        """A finished cell; None where there is none that is whole and is this one.

        Args:
            key: whose.
            ids: of its samples, to be compared with what the file says.

        Example:
            >>> import xarray as xr
            >>> from pathlib import Path
            >>> from vlmlens.experiments import Store
            >>> store = Store(Path("results"))
            >>> store.write("a1b2", xr.Dataset({"correct": ("sample", [1.0])}), ids=["q0"])
            >>> store.read("a1b2", ids=["q0"]).correct.item(), store.read("a1b2", ids=["q1"])
            (1.0, None)
        """
        if not self.has(key):
            return None
        path = self.path(key)
        try:
            found = read(path)
        except DataError as error:
            LOG.warning("%s; it counts as missing", error)
            return None
        said = [found.attrs.pop(name, "") for name in (KEY, IDS, CONTENT)]
        wanted = [key, said[1] if ids is None else json.dumps(list(ids)), content(found)]
        if said != wanted:
            what = "is damaged" if said[:2] == wanted[:2] else "is not this cell's"
            LOG.warning("%s %s; it counts as missing", path, what)
            return None
        return found

    def write(self, key: str, result: xr.Dataset, ids: Sequence[str] = ()) -> None:
        """Keep a cell: written beside its place and renamed, so a file that exists is whole.

        Raises:
            DataError: the disk is full, or the folder cannot be written into.

        Example:
            >>> import xarray as xr
            >>> from pathlib import Path
            >>> from vlmlens.experiments import Store
            >>> Store(Path("results")).write("a1b2", xr.Dataset({"correct": ("sample", [1.0])}))
            >>> [path.name for path in Path("results").iterdir()]
            ['a1b2.nc']
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        told = {KEY: key, IDS: json.dumps(list(ids)), CONTENT: content(result)}
        write(result.assign_attrs(told), self.path(key))


def content(table: xr.Dataset) -> str:
    """A hash of every value in a table, whatever its variables say of themselves."""
    told = [
        (str(name), variable.dims, _held(variable)) for name, variable in table.variables.items()
    ]
    return value(sorted(told, key=lambda item: item[0]))


def _held(variable: xr.Variable) -> Any:
    kind = variable.dtype.kind
    if kind in "UOS":  # a file gives words another width
        return variable.shape, variable.values.reshape(-1).tolist()
    return variable.values if kind in "biufc" else variable.shape


def make(folder: Path) -> None:
    """Make a folder for results.

    Raises:
        DataError: it cannot be made; says why.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        gone = folder.is_symlink() and f"it is a link to {folder.readlink()}, which is not there"
        raise _refused(folder, gone or "it is a file") from error
    except OSError as error:
        raise _refused(folder, error.strerror) from error
    except ValueError as error:  # a NUL in its name
        raise _refused(folder, error) from error


def _refused(folder: Path, why: object) -> DataError:
    return DataError(f"cannot keep results in {str(folder)!r}: {why}; name another folder")


def unwritable(folder: Path) -> str:
    """Why nothing can be written into a folder; "" where it can."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".try.", suffix=".part") as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return f"the disk of {folder} is full"
        return f"nothing can be written into {folder} ({error.strerror})"
    return ""
