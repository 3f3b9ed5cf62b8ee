"""One row an item, in Parquet: all that is needed to grade and tabulate again without a model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from vlmlens.errors import DataError
from vlmlens.experiments.files import whole
from vlmlens.sample import Sample

ITEMS, SETTINGS = "items.parquet", b"vlmlens"
_TEXT, _TEXTS, _NUMBERS = pa.string(), pa.list_(pa.string()), pa.list_(pa.float64())
_GROUP = pa.struct({"kind": _TEXT, "name": _TEXT})
#: A row's columns. What became of an item: its answer and grade, or the ``error`` it failed of.
SCHEMA = pa.schema(
    {
        "model": _TEXT,
        "data": _TEXT,
        "prompt_form": _TEXT,
        "condition": _TEXT,
        "permutation": pa.int64(),  # null where there is but one
        "sample": _TEXT,
        "picture": _TEXT,  # a hash of what is shown, the same for all questions about it
        "unit": _TEXT,  # what is drawn as one in intervals
        "category": _TEXT,
        "groups": pa.list_(_GROUP),
        "question": _TEXT,
        "choices": _TEXTS,
        "options": _TEXTS,
        "gold": _TEXT,
        "references": _TEXTS,
        "scoring": _TEXT,
        "answer": _TEXT,
        "log_prob": pa.float64(),  # of the right answer, in nats
        "choice_log_prob": _NUMBERS,
        "choice_tokens": _NUMBERS,
        "choice_blind": _NUMBERS,
        "rule": _TEXT,
        "parsed": _TEXT,
        "state": _TEXT,
        "score": pa.float64(),
        "error": _TEXT,
    }
)
LISTS = ("choices", "options", "references", "choice_log_prob", "choice_tokens", "choice_blind")


def write(items: pd.DataFrame, settings: Mapping[str, Any], path: Path) -> Path:
    """Write items and the settings that they came of, whole or not at all.

    Raises:
        DataError: it cannot be written there.
    """
    table = pa.Table.from_pandas(items, schema=SCHEMA, preserve_index=False)
    told = json.dumps(settings, default=str).encode()
    table = table.replace_schema_metadata({SETTINGS: told})
    return whole(path, lambda part: _written(table, part))


def _written(table: pa.Table, path: Path) -> None:
    with path.open("wb") as file:
        pq.write_table(table, file)


def read(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Items and their settings.

    Args:
        path: of the file, or of the folder that it is in.

    Raises:
        DataError: there is no such file, or it holds something else.
    """
    path = path / ITEMS if path.is_dir() else path
    if not path.is_file():
        raise DataError(f"there is no {path}: name what `vlmlens evaluate --out` wrote")
    try:
        with path.open("rb") as file:  # a path of bytes that are no text is not Arrow's to open
            table = pq.read_table(file)
        told = (table.schema.metadata or {}).get(SETTINGS)
        if told is None:
            raise ValueError("it does not say what was asked, and how")
        settings = json.loads(told)
        items = table.select(SCHEMA.names).to_pandas()
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise DataError(f"{path} holds no items of an evaluation ({error})") from error
    for name in LISTS:
        items[name] = [[] if cell is None else list(cell) for cell in items[name]]
    items["groups"] = [[] if cell is None else list(cell) for cell in items["groups"]]
    return items.astype({"permutation": "Int64"}), settings


def sample_of(row: Mapping[str, Any]) -> Sample:
    """The question of a row, without its pictures."""
    return Sample(
        row["question"],
        answer=None if pd.isna(row["gold"]) else row["gold"],
        choices=tuple(row["choices"]),
        category=row["category"],
        id=row["sample"],
        options=tuple(row["options"]),
        references=tuple(row["references"]),
        groups=groups_of(row),
        form=row["prompt_form"],
    )


def groups_of(row: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The groups of a row's question."""
    return tuple((each["kind"], each["name"]) for each in row["groups"])
