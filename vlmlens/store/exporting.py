"""Taking a store's results out, as one table, without ever holding all of it."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from vlmlens.checks import one_of
from vlmlens.errors import DataError
from vlmlens.store.atomic import whole
from vlmlens.store.shards import CONDITION, KEY, SAMPLE, Shard
from vlmlens.store.upkeep import first_of_each, shards_of

#: What ``export`` writes, by the ending of the file's name.
KINDS = (".parquet", ".csv")
#: What every exported row says first.
FIRST = ("model", "measure", "condition", SAMPLE)


def export(folder: Path, path: Path) -> int:
    """Write every finished result as one table, a row each, one file of the store after another.

    Args:
        folder: the store.
        path: ends in ``.parquet``, where arrays are lists, or ``.csv``, where they are JSON.

    Returns:
        How many rows.

    Raises:
        DataError: no store, or nothing in it; another ending.
    """
    one_of(path.suffix, f"the ending of {path}", KINDS)
    shards = [shard for shard in shards_of(folder, []) if not shard.failed]
    if not shards:
        raise DataError(f"{folder} holds no finished results")
    tables = [_readable(shard, pq.read_table(shard.path).slice(0, 0)) for shard in shards]
    schema = pa.unify_schemas([t.schema for t in tables], promote_options="permissive")
    flat = pa.schema([_flat_field(f) for f in schema]) if path.suffix == ".csv" else schema
    seen: Counter[str] = Counter()
    known: set[tuple[str, bytes]] = set()

    def save(part: Path) -> None:
        kind = pq.ParquetWriter if path.suffix == ".parquet" else pyarrow.csv.CSVWriter
        with kind(part, flat) as writer:
            for shard in shards:
                raw = first_of_each(shard.read(), known)
                table = _readable(shard, raw)
                filled = {f.name: _column(table, f, flat.field(f.name).type) for f in schema}
                writer.write_table(pa.table(filled, schema=flat))
                seen["rows"] += len(raw)

    whole(path, save)
    return seen["rows"]


def _readable(shard: Shard, table: pa.Table) -> pa.Table:
    """A shard's rows with words in place of keys."""
    which = table[CONDITION].cast(pa.string()).to_pylist()
    words = {
        "model": [shard.conditions[each].get("model", "") for each in which],
        "measure": [shard.conditions[each].get("measure", "") for each in which],
        "condition": [shard.conditions[each].get("label", "") for each in which],
    }
    own = {name: pa.array(told, pa.string()) for name, told in words.items()}
    own[SAMPLE] = table[SAMPLE].cast(pa.string())
    rest = [n for n in table.column_names if n not in (CONDITION, KEY, *FIRST)]
    return pa.table(own | {name: table[name] for name in rest})


def _flat_field(column: pa.Field) -> pa.Field:
    return pa.field(column.name, pa.string()) if pa.types.is_list(column.type) else column


def _column(table: pa.Table, column: pa.Field, kind: pa.DataType) -> Any:
    if column.name not in table.column_names:
        return pa.nulls(len(table), kind)
    given = table[column.name]
    if kind != column.type:  # an array, in a file of text
        return pa.array([None if v is None else json.dumps(v) for v in given.to_pylist()], kind)
    return given.cast(kind)
