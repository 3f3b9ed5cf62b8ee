"""Tables as netCDF files: whole or not there at all, and the same when they are read back."""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from vlmlens.annotations import checked
from vlmlens.errors import DataError
from vlmlens.store import whole

#: A folder's folder of whole maps, beside the finished cells of sweeps.
MAPS = "maps"
#: Marks variables whose words are written escaped, since netCDF cannot hold them as they are.
ESCAPED = "vlmlens_escaped"
AWKWARD = re.compile("[\0\ud800-\udfff]")
CODES = re.compile(r"\\(\\|x00|ud[89a-f][0-9a-f]{2})")


@checked
def read(path: Path | str) -> xr.Dataset:
    """A dataset from netCDF, all of it in memory.

    Args:
        path: of the file; or a folder that one sweep, or ``path_patch``, was given.

    Raises:
        DataError: there is no such file, it does not open, or a folder holds no map or several.

    Examples:
        >>> import xarray as xr
        >>> from pathlib import Path
        >>> xr.Dataset({"correct": ("sample", [1.0, 0.0])}).to_netcdf("results.nc")
        >>> vl.experiments.read(Path("results.nc")).correct.values.tolist()
        [1.0, 0.0]
    """
    path = _file(Path(path))
    try:
        found = xr.load_dataset(path, engine="h5netcdf")
    except Exception as error:  # a damaged file: whatever its readers stumble over
        raise DataError(
            f"{path} does not open as a result ({error}); delete it and run again"
        ) from error
    found = found.drop_encoding()  # a file's own widths of words would cut those of others
    awkward = json.loads(found.attrs.pop(ESCAPED, "[]"))
    return _words(found, awkward, _unescaped)


def _file(path: Path) -> Path:
    """The file itself, or a folder's only map.

    Raises:
        DataError: there is none; a folder of several, or of something else.
    """
    if not path.is_dir():
        if not path.exists():
            raise DataError(f"there is no file {path} here ({Path.cwd()})")
        return path
    found = sorted((path / MAPS).glob("*.nc"))
    if len(found) == 1:
        return found[0]
    if found:
        which = ", ".join(each.name for each in found)
        raise DataError(
            f"{path} holds {len(found)} maps, {which}: name one of the files in {path / MAPS}"
        )
    if tables := sorted(path.glob("*.nc")):
        which = ", ".join(each.name for each in tables)
        raise DataError(f"{path} is a folder of tables, {which}: name one of the files")
    raise DataError(
        f"{path} is a folder, and holds no map and no table. If finished cells are kept in it, "
        "call sweep(..., folder=), path_patch or Experiment.run(folder) as before: nothing is "
        "computed anew; `vlmlens export` writes the rows of experiments"
    )


def write(data: xr.Dataset, path: Path) -> Path:
    """Write netCDF beside its place and rename it, so a file that exists is whole.

    Raises:
        DataError: it cannot be written there; what is there already stays as it is.
    """
    plain = data.drop_encoding()
    texts = [str(n) for n, v in plain.variables.items() if v.dtype.kind in "UO"]
    awkward = [name for name in texts if any(map(_is_awkward, plain[name].values.flat))]
    if awkward:
        plain = _words(plain, awkward, _escaped).assign_attrs({ESCAPED: json.dumps(awkward)})
    plain.attrs = {name: _speakable(told) for name, told in plain.attrs.items()}

    def save(part: Path) -> None:
        plain.to_netcdf(part, engine="h5netcdf")

    return whole(path, save)


def _words(data: xr.Dataset, names: Iterable[str], change: Callable[[str], str]) -> xr.Dataset:
    """The same dataset with the words of some variables changed."""
    made = data.copy()
    for name in names:
        old = made.variables[name]
        values = np.array([change(text) for text in old.values.reshape(-1)], dtype=str)
        new = xr.Variable(old.dims, values.reshape(old.shape), old.attrs)
        assign = made.assign_coords if name in made.coords else made.assign
        made = assign({name: new})
    return made


def _is_awkward(text: object) -> bool:
    return isinstance(text, str) and AWKWARD.search(text) is not None


def _escaped(text: str) -> str:
    doubled = text.replace("\\", "\\\\")
    return AWKWARD.sub(lambda m: "\\x00" if m[0] == "\0" else f"\\u{ord(m[0]):04x}", doubled)


def _unescaped(text: str) -> str:
    def plain(code: re.Match[str]) -> str:
        return "\\" if code[1] == "\\" else chr(int(code[1][1:], 16))

    return CODES.sub(plain, text)


def _speakable(told: Any) -> Any:
    """An attribute, which nobody reads back, in letters that a file can hold."""
    if not _is_awkward(told):
        return told
    return told.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()
