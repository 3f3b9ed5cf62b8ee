"""Rows of a table, whatever its format; each knows where it stands."""

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from vlmlens.datasets.reading.decoded import POINTER, decoded
from vlmlens.datasets.reading.pictures import InParquet
from vlmlens.errors import DataError, UnknownColumnError
from vlmlens.picture import state_of

#: The formats that are read, by the endings of their files.
ENDINGS = (".parquet", ".json", ".jsonl", ".csv", ".tsv")
#: What stands between cells; the one of the file's ending is taken where others split no better.
SEPARATORS = ",\t;"

#: Called with columns, the words for where they stand, and what they are called there.
Look = Callable[[Sequence[str], str, str], None]
#: What ``Row.get`` gives back where it is told nothing.
_NOTHING = object()
_SPACE = re.compile(r"\s*")


def _no_look(names: Sequence[str], where: str, noun: str) -> None:
    """Columns that nobody looks at."""


@dataclass(frozen=True)
class Row:
    """One row: its cells by column, the words that say where it is, and columns that it lacks.

    Examples:
        >>> from vlmlens.datasets.reading import Row
        >>> row = Row("mine.csv, row 1", {"question": "What is this?", "id": 7})
        >>> row["question"], row.text("id"), row.get("answer")
        ('What is this?', '7', None)
    """

    where: str
    cells: Mapping[str, Any]
    short: tuple[str, ...] = ()

    def __getitem__(self, column: str) -> Any:
        if column in self.short:
            raise DataError(
                f"{self.where} ends before its {column}; write every cell, empty ones too"
            )
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

    def texts(self, column: str) -> list[str]:
        """The texts of a list in a cell; a text is no list of its letters.

        Raises:
            UnknownColumnError: there is no such column.
            DataError: it is no list of texts.
        """
        value = self[column]
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise DataError(
                f"{self.where}: {column} is {value!r:.60}; it should be a list of texts"
            )
        return value

    def rows(self, column: str, noun: str) -> list["Row"]:
        """The objects of a list in a cell, each called by its number.

        Raises:
            DataError: it is no list of objects.
        """
        value = self[column]
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise DataError(f"{self.where}: {column} is {value!r:.60}; it should be objects")
        return [Row(f"{self.where}, {noun} {n}", each) for n, each in enumerate(value)]


def only(path: str | Path) -> Row:
    """The object that a whole JSON file is.

    Raises:
        DataError: it holds none.

    Examples:
        >>> from pathlib import Path
        >>> from vlmlens.datasets.reading import only
        >>> _ = Path("info.json").write_text('{"version": 2, "name": "mine"}')
        >>> only("info.json").text("name")
        'mine'
    """
    found = next(rows(path), None)
    if found is None:
        raise DataError(f"{path} is empty")
    return found


def keyed(found: Iterable[Row], column: str) -> dict[str, Row]:
    """Rows by the text of a cell that names each.

    Raises:
        DataError: two have one name.

    Examples:
        >>> from vlmlens.datasets.reading import Row, keyed
        >>> list(keyed([Row("row 1", {"id": 7}), Row("row 2", {"id": 8})], "id"))
        ['7', '8']
    """
    named: dict[str, Row] = {}
    for row in found:
        name = row.text(column)
        if name in named:
            raise DataError(f"{row.where} has the {column} {name} of {named[name].where}")
        named[name] = row
    return named


def rows(path: str | Path, look: Look = _no_look) -> Iterator[Row]:
    """The rows of a parquet, CSV, TSV, JSON or JSON lines file, one after the other.

    Text is UTF-8, or UTF-16 that says so. Cells are separated by what splits the header best:
    commas, tabs or semicolons. A row that ends early lacks cells: that is said when one is asked
    for. JSON may be a list of objects, objects one after the other (in lines or not, whatever the
    file's ending), or one object whose values are objects: its keys then stand in the column ``id``
    where they have none; NaN is a number there, and infinity is refused. Pictures in a parquet
    file stay there until somebody opens them.

    Args:
        path: of the file.
        look: sees the columns, before the rows that have them; also where no row does.

    Raises:
        DataError: no such file, no format that is read, or a row that is none.

    Examples:
        >>> from pathlib import Path
        >>> from vlmlens.datasets.reading import rows
        >>> _ = Path("mine.json").write_text('[{"image": "a.png"}, {"image": "b.png"}]')
        >>> [row["image"] for row in rows("mine.json")]
        ['a.png', 'b.png']
    """
    path = Path(path)
    if not path.is_file():
        state = "it is a folder" if path.is_dir() else "there is no such file"
        raise DataError(f"cannot read the table {path}: {state}")
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise DataError(f"cannot read the table {path}: there is: {', '.join(ENDINGS)}")
    if ending == ".parquet":
        return _parquet(path, look)
    if ending in (".csv", ".tsv"):
        return _separated(path, "," if ending == ".csv" else "\t", look)
    return _json(path, look)


def _separated(path: Path, own: str, look: Look) -> Iterator[Row]:
    csv.field_size_limit(2**31 - 1)  # a picture may stand in a cell, as base64
    text = decoded(path)
    mark = _separator(text, own)
    reader = csv.reader(
        StringIO(text, newline=""), delimiter=mark, strict=True, skipinitialspace=True
    )
    try:
        header = [name.strip() for name in next(filter(None, reader), [])]
        if twice := [name for name in dict.fromkeys(header) if name and header.count(name) > 1]:
            raise DataError(f"{path} has the column {', '.join(twice)} twice; keep one of them")
        look(header, str(path), "column ")
        for cells in filter(None, reader):
            where = f"{path}, line {reader.line_num}"
            if len(cells) > len(header):
                raise DataError(
                    f"{where} has more cells than the header; put text that holds {mark!r} in "
                    "double quotes"
                )
            yield Row(where, dict(zip(header, cells, strict=False)), tuple(header[len(cells) :]))
    except csv.Error as error:
        raise DataError(f"cannot read {path}, line {reader.line_num}: {error}") from error


def _separator(text: str, own: str) -> str:
    first = re.search(r"[^\r\n]*\S[^\r\n]*", text)
    line = first[0] if first else ""

    def parts(mark: str) -> int:
        return len(next(csv.reader([line], delimiter=mark, skipinitialspace=True), []))

    return max((own, *SEPARATORS), key=parts)  # the first of equals


def _json(path: Path, look: Look) -> Iterator[Row]:
    text, at, line, number = decoded(path), 0, 1, 0
    decoder = json.JSONDecoder(parse_constant=_constant, object_pairs_hook=_once)
    seen: set[tuple[str, ...]] = set()
    while True:
        start = _SPACE.match(text, at).end()  # pyright: ignore[reportOptionalMemberAccess]
        line += text.count("\n", at, start)
        if start == len(text):
            return
        try:
            value, at = decoder.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            raise DataError(f"cannot read {path}, line {line}: {error}") from error
        for cells in _objects(value):
            number += 1
            place = f"line {line}"
            if not isinstance(cells, dict):
                raise DataError(
                    f"{path}, {place} is no object, nor a list of them, but holds {cells!r:.60}; "
                    "write {...}"
                )
            where = f"{path}, {place if cells is value else f'row {number}'}"
            if (names := tuple(cells)) not in seen:
                look(names, where, "")
                seen.add(names)
            yield Row(where, cells)
        line += text.count("\n", start, at)


def _objects(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    if isinstance(value, dict) and value and all(isinstance(x, dict) for x in value.values()):
        return [{"id": key, **cells} for key, cells in value.items()]
    return [value]


def _constant(name: str) -> float:
    if name == "NaN":
        return float("nan")
    raise ValueError(f"{name} is no number; write null where nothing is known")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has the name {twice!r} twice; keep one of them")
    return found


def _parquet(path: Path, look: Look) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        state = state_of(path)
        with pq.ParquetFile(path) as file:
            look(file.schema_arrow.names, str(path), "column ")
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
                            cells[name] = InParquet(
                                *(path, group, index, name, state), known["path"] or ""
                            )
                    yield Row(f"{path}, row {number}", cells)
                    number += 1
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"cannot read the parquet file {path}: {error}; if it was cloned without git-lfs, "
            f"{POINTER}"
        ) from error


def _is_picture(kind: Any) -> bool:
    import pyarrow as pa

    names = {kind.field(i).name for i in range(kind.num_fields)} if pa.types.is_struct(kind) else ()
    return {"bytes", "path"} == set(names)
