"""Rows of a table, whatever its format; each knows where it stands."""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from vlmlens.datasets.reading.pictures import InParquet
from vlmlens.errors import DataError, UnknownColumnError

#: The formats that are read, by the endings of their files.
ENDINGS = (".parquet", ".json", ".jsonl", ".csv", ".tsv")

#: What ``Row.get`` gives back where it is told nothing.
_NOTHING = object()


@dataclass(frozen=True)
class Row:
    """One row: its cells by column, and the words that say where it is."""

    where: str
    cells: Mapping[str, Any]

    def __getitem__(self, column: str) -> Any:
        if column not in self.cells:
            raise UnknownColumnError(column, self.cells, f"({self.where})")
        return self.cells[column]

    def get(self, column: str, default: Any = None) -> Any:
        """The cell of a column that not every table has."""
        return self.cells.get(column, default)

    def text(self, column: str, default: Any = _NOTHING) -> str:
        """A cell as text: strings as they are, whole numbers written out.

        Raises:
            UnknownColumnError: there is no such column, and no default.
            DataError: the cell is empty, or of another kind.
        """
        value = self[column] if default is _NOTHING else self.cells.get(column)
        if isinstance(value, str):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if value is None and default is not _NOTHING:
            return default
        raise DataError(f"{self.where}: {column} is {value!r:.60}; it should be text")


def rows(path: str | Path) -> Iterator[Row]:
    """The rows of a parquet, CSV, TSV, JSON or JSON lines file, one after the other.

    JSON may be a list of objects, objects one after the other (in lines or not, whatever the
    file's ending), or one object whose values are objects: its keys then stand in the column ``id``
    where they have none. Pictures in a parquet file stay there until somebody opens them.

    Raises:
        DataError: no such file, no format that is read, or a row that is none.
    """
    path = Path(path)
    if not path.is_file():
        state = "it is a folder" if path.is_dir() else "there is no such file"
        raise DataError(f"cannot read the table {path}: {state}")
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise DataError(f"cannot read the table {path}: there is: {', '.join(ENDINGS)}")
    if ending == ".parquet":
        return _parquet(path)
    if ending in (".csv", ".tsv"):
        return _separated(path, "," if ending == ".csv" else "\t")
    return _json(path)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # Excel begins with a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the table {path}: {error}; save it as UTF-8") from error


def _separated(path: Path, separator: str) -> Iterator[Row]:
    csv.field_size_limit(2**31 - 1)  # a picture may stand in a cell, as base64
    reader = csv.DictReader(StringIO(_read(path), newline=""), delimiter=separator, strict=True)
    try:
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if None in row or None in row.values():
                more = "more" if None in row else "fewer"
                raise DataError(f"{where} has {more} cells than the header; put text in quotes")
            yield Row(where, row)
    except csv.Error as error:
        raise DataError(f"cannot read {path}, line {reader.reader.line_num}: {error}") from error


def _json(path: Path) -> Iterator[Row]:
    text, at, number = _read(path), 0, 0
    decoder = json.JSONDecoder(parse_constant=lambda name: _no_number(path, name))
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        try:
            value, at = decoder.raw_decode(text, at)
        except (json.JSONDecodeError, RecursionError) as error:
            line = text.count("\n", 0, at) + 1
            raise DataError(f"cannot read {path}, line {line}: {error}") from error
        for cells in _objects(value):
            number += 1
            where = f"{path}, row {number}"
            if not isinstance(cells, dict):
                raise DataError(f"{where} is no object but {cells!r:.60}")
            yield Row(where, cells)


def _objects(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    if isinstance(value, dict) and value and all(isinstance(x, dict) for x in value.values()):
        return [{"id": key, **cells} for key, cells in value.items()]
    return [value]


def _no_number(path: Path, name: str) -> Any:
    raise DataError(f"{path} holds {name}, which is no JSON; write null where nothing is known")


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            pictures = [field.name for field in file.schema_arrow if _is_picture(field.type)]
            names = [f"{name}.path" for name in pictures]
            others = [name for name in file.schema_arrow.names if name not in pictures]
            number = 0
            for group in range(file.num_row_groups):
                # Their names tell whether there is a picture, and pictures stay where they are.
                table = file.read_row_group(group, columns=[*others, *names])
                for index, cells in enumerate(table.to_pylist()):
                    for name in pictures:
                        if (known := cells.get(name)) is not None:
                            cells[name] = InParquet(path, group, index, name, known["path"] or "")
                    yield Row(f"{path}, row {number}", cells)
                    number += 1
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"cannot read the parquet file {path}: {error}") from error


def _is_picture(kind: Any) -> bool:
    import pyarrow as pa

    names = {kind.field(i).name for i in range(kind.num_fields)} if pa.types.is_struct(kind) else ()
    return {"bytes", "path"} == set(names)
