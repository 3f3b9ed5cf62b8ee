"""One file of the store: rows of one form, and in its footer what they mean.

Its name is its checksum, so a file that is cut, changed or somebody else's does not answer to it,
and a listing of the folder is the list of what is whole.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Int, Integer

from vlmlens.errors import DataError
from vlmlens.identity import digest
from vlmlens.store.atomic import whole

#: The columns that are no variables: whose result a row is, and under which condition.
SAMPLE, KEY, CONDITION = "sample", "vlmlens_key", "vlmlens_condition"
#: What a file says of itself, and the layout that this is.
META, FORMAT = b"vlmlens", 2
#: Layouts that are read: in 1, every condition says all that it is.
READ = (1, 2)
KEY_BYTES = 12
KEYS = pa.binary(KEY_BYTES)
NAMES = "results-*.parquet"


@dataclass(frozen=True, eq=False)
class Shard:
    """A file that was found whole.

    Attributes:
        path: where it lies.
        form: what its rows hold, as JSON.
        conditions: what its conditions are, by their keys.
        failed: whether its rows say of what samples failed, in place of results.
        keys: of its rows' samples.
        codes: of its rows' conditions, as numbers in ``order``.
        order: keys of conditions.
        bytes: its size.
    """

    path: Path
    form: str
    conditions: Mapping[str, Mapping[str, Any]]
    failed: bool
    keys: pa.FixedSizeBinaryArray
    codes: Integer[np.ndarray, " row"]
    order: Sequence[str]
    bytes: int

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def _by_condition(self) -> dict[str, tuple[pa.Array, Int[np.ndarray, " _row"]]]:
        found = {}
        for code, condition in enumerate(self.order):
            rows = np.flatnonzero(self.codes == code).astype(np.int32)
            found[condition] = self.keys.take(pa.array(rows)), rows
        return found

    def rows(self, condition: str, keys: pa.Array) -> Int[np.ndarray, " sample"]:
        """The row of each sample under a condition; -1 where it is not here."""
        here = self._by_condition.get(condition)
        if here is None:
            return np.full(len(keys), -1)
        own, rows = here
        at = pc.index_in(keys, value_set=own).fill_null(-1).to_numpy()
        return np.where(at >= 0, rows[at], -1) if len(rows) else np.full(len(keys), -1)

    def keys_of(self, condition: str) -> pa.Array:
        """The samples that it has under a condition."""
        here = self._by_condition.get(condition)
        return pa.array([], KEYS) if here is None else here[0]

    def read(self) -> pa.Table:
        """All of its rows.

        Raises:
            FileNotFoundError: it is gone, or no longer what it was.
        """
        try:
            return _plain(checked(self.path)[1].read())
        except DataError as error:
            raise FileNotFoundError(str(error)) from error


@dataclass
class Rows:
    """Rows of one form that are not written yet.

    Attributes:
        form: theirs.
        failed: whether they say of what samples failed.
        tables: what was added, one after another.
        conditions: what their conditions are.
    """

    form: str
    failed: bool = False
    tables: list[pa.Table] = field(default_factory=list)
    conditions: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def add(
        self,
        condition: str,
        told: Mapping[str, Any],
        keys: Sequence[bytes],
        ids: Sequence[str],
        columns: Mapping[str, pa.Array],
    ) -> None:
        """Some samples' results under one condition."""
        own = {
            CONDITION: pa.DictionaryArray.from_arrays(
                np.zeros(len(keys), dtype=np.int32), pa.array([condition])
            ),
            KEY: pa.array(keys, KEYS),
            SAMPLE: pa.array([name.encode("utf-8", "backslashreplace").decode() for name in ids]),
        }
        self.tables.append(pa.table(own | dict(columns)))
        self.conditions[condition] = told

    def write(self, folder: Path) -> Path:
        """All of it, as one file.

        Raises:
            DataError: it cannot be written.
        """
        table = pa.concat_tables(self.tables).unify_dictionaries().combine_chunks()
        return written(folder, [table], self.form, self.conditions, failed=self.failed)


def written(
    folder: Path,
    tables: Iterable[pa.Table],
    form: str,
    conditions: Mapping[str, Mapping[str, Any]],
    *,
    failed: bool,
) -> Path:
    """Rows of one form as one file, of which one table at a time is in memory.

    Raises:
        DataError: it cannot be written.
    """
    tables = iter(tables)
    first = next(tables)
    floats = [path for f in first.schema for path in _float_leaf(f)]
    split = dict.fromkeys(floats, "BYTE_STREAM_SPLIT")  # four fifths of what zstd leaves
    others = [f.name for f in first.schema if not _float_leaf(f) and f.name != SAMPLE]
    encodings = split | {SAMPLE: "DELTA_BYTE_ARRAY"}
    told = {"form": form, "failed": failed, **apart(conditions)}
    every = chain([first], tables)
    data = packed(every, first.schema, told, use_dictionary=others, column_encoding=encodings)
    path = folder / f"results-{digest(memoryview(data))[:24]}.parquet"
    return whole(path, lambda part: part.write_bytes(data))


def _float_leaf(column: pa.Field) -> list[str]:
    kind, path = column.type, column.name
    if pa.types.is_list(kind):
        kind, path = kind.value_type, f"{path}.list.element"
    return [path] if pa.types.is_floating(kind) else []


def packed(
    tables: Iterable[pa.Table], schema: pa.Schema, told: Mapping[str, Any], **how: Any
) -> pa.Buffer:
    """Tables as one file, with what it says of itself in the footer.

    Neither Arrow's own schema, which would hold that text a second time, nor statistics are in it.
    """
    sink = pa.BufferOutputStream()
    text = json.dumps({"format": FORMAT, **told}, sort_keys=True, separators=(",", ":"))
    bare: Any = {"compression": "zstd", "store_schema": False, "write_statistics": False}
    with pq.ParquetWriter(sink, schema, **bare, **how) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=max(len(table), 1))
        writer.add_key_value_metadata({META: text})
    made = sink.getvalue()
    pa.default_memory_pool().release_unused()  # Arrow keeps what it wrote with, for the next time
    return made


def said_by(file: pq.ParquetFile, path: Path) -> dict[str, Any]:
    """What a file says of itself.

    Raises:
        DataError: it is of another layout.
    """
    told = json.loads((file.metadata.metadata or {}).get(META, b"{}"))
    if told.get("format") not in READ:
        raise DataError(
            f"{path} is of the store's layout {told.get('format')}, this vlmlens reads "
            f"{' and '.join(map(str, READ))}"
        )
    every = told.pop("every", {})
    told["conditions"] = {key: every | own for key, own in told["conditions"].items()}
    return told


def apart(conditions: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What conditions are, and by itself what is the same in all of them but their labels."""
    first = next(iter(conditions.values()), {})
    every = {
        name: said
        for name, said in first.items()
        if name != "label" and all(name in own and own[name] == said for own in conditions.values())
    }
    rest = {
        key: {name: said for name, said in own.items() if name not in every}
        for key, own in conditions.items()
    }
    return {"every": every, "conditions": rest}


def _plain(table: pa.Table) -> pa.Table:
    """The rows with one type a column, whether the file tells Arrow's own or only Parquet's."""
    kinds = []
    for column in table.schema:
        kind = column.type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        elif pa.types.is_list(kind):
            kind = pa.list_(kind.value_type)
        kinds.append(pa.field(column.name, kind))
    return table.cast(pa.schema(kinds, table.schema.metadata))


def as_keys(keys: Sequence[bytes] | pa.Array) -> pa.Array:
    """Samples' keys as they are in files."""
    return keys if isinstance(keys, pa.Array) else pa.array(keys, KEYS)


def opened(path: Path) -> Shard:
    """A file of the store, once it is known to be whole.

    Raises:
        DataError: it is damaged, not ours, or of another layout; says which.
        FileNotFoundError: it is gone.
    """
    size, file = checked(path)
    told = said_by(file, path)
    whose = file.read([CONDITION, KEY])
    conditions = pc.dictionary_encode(whose[CONDITION].combine_chunks().cast(pa.string()))
    codes = conditions.indices.to_numpy()
    return Shard(
        path,
        told["form"],
        told["conditions"],
        told["failed"],
        whose[KEY].combine_chunks(),
        codes.astype(np.min_scalar_type(int(codes.max(initial=0)))),
        conditions.dictionary.to_pylist(),
        size,
    )


def checked(path: Path, kind: str = "results") -> tuple[int, pq.ParquetFile]:
    """A file that is what its name says, and its size.

    Raises:
        DataError: it is not.
    """
    data = path.read_bytes()
    if path.stem != f"{kind}-{digest(data)[:24]}":
        raise DataError(f"{path} is damaged, or not of this store")
    try:
        return len(data), pq.ParquetFile(pa.BufferReader(data))
    except pa.ArrowException as error:
        raise DataError(f"{path} is no Parquet file ({error})") from error
