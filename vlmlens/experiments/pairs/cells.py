"""The maps of a sweep's folder as one table, a labelled row for every cell."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import xarray as xr

from vlmlens.checks import one_of
from vlmlens.errors import DataError
from vlmlens.experiments.files import MAPS
from vlmlens.experiments.pairs.maps import open_map
from vlmlens.experiments.pairs.told import PAIR
from vlmlens.store import whole

WRITERS = {".parquet": pq.ParquetWriter, ".csv": pyarrow.csv.CSVWriter}


def maps_of(folder: Path) -> list[Path]:
    """The maps that sweeps left in a folder."""
    return sorted((folder / MAPS).glob("*.nc"))


def export_cells(folder: Path, path: Path) -> int:
    """Write every cell of every map of a folder as one table, a row each, a sample at a time.

    Columns: ``map`` (the file's name), ``point``, ``sample`` and what else the map says of it
    (``clean``, ``corrupted``, ``question``, ``picture``), the cell's ``layer`` and place (``pos``
    with its ``token``, ``role``, ``row`` and ``column``; ``head``; ...), ``value`` and ``units``.

    Args:
        folder: that ``sweep`` or ``path_patch`` was given.
        path: ends in ``.parquet`` or ``.csv``.

    Returns:
        How many rows.

    Raises:
        DataError: no map there, or another ending.
    """
    one_of(path.suffix, f"the ending of {path}", tuple(WRITERS))
    files = maps_of(folder)
    if not files:
        raise DataError(f"{folder} holds no map")
    schemas = [next(_rows(file)).schema for file in files]
    schema = pa.unify_schemas(schemas, promote_options="permissive")
    count = 0

    def save(part: Path) -> None:
        nonlocal count
        with WRITERS[path.suffix](part, schema) as writer:
            for file in files:
                for rows in _rows(file):
                    lacking = {name: pa.nulls(len(rows)) for name in schema.names}
                    own = {name: rows[name] for name in rows.column_names}
                    full = pa.table(lacking | own).select(schema.names)
                    writer.write_table(full.cast(schema))
                    count += len(rows)

    whole(path, save)
    return count


def _rows(file: Path) -> Iterator[pa.Table]:
    """A map's rows, those of a sample at a time."""
    table = open_map(file)
    for at in range(table.sizes["sample"]):
        yield pa.Table.from_pandas(_long(table.isel(sample=at), file.stem), preserve_index=False)


def _long(cells: xr.DataArray, name: str) -> pd.DataFrame:
    said = {"map": name, "point": cells.attrs.get("point", "")}
    found = cells.drop_vars(PAIR, errors="ignore").rename("value").to_dataframe().reset_index()
    first = [each for each in ("sample", *map(str, cells.dims)) if each in found]
    rest = [each for each in found if each not in (*first, "value")]
    found = found[[*first, *rest, "value"]].assign(units=cells.attrs.get("units", ""))
    for at, (column, told) in enumerate(said.items()):
        found.insert(at, column, told)
    return found
