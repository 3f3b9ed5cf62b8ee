"""Rows of a table of questions: ``questions.csv`` or ``questions.jsonl``."""

import csv
import json
import logging
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import Any

from vlmlens.errors import DataError

NAMES = ("questions.csv", "questions.jsonl")
REQUIRED = ("image", "question", "answer")
COLUMNS = (*REQUIRED, "choices", "category", "id")


def rows(table: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row of a table, with the words that say where it is.

    Columns that nobody reads are named in a line of the log.

    Raises:
        DataError: it cannot be read, or a row or column cannot be used.
    """
    try:
        text = table.read_text(encoding="utf-8-sig")  # Excel begins with a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the table {table}: {error}; save it as UTF-8") from error
    unread: dict[str, None] = {}
    for where, row in (_csv if table.suffix == ".csv" else _jsonl)(table, text):
        unread |= dict.fromkeys(name for name in row if name and name not in COLUMNS)
        yield where, row
    if unread:
        logging.getLogger("vlmlens").warning(
            "%s: the columns %s are not read; there is: %s",
            table,
            ", ".join(unread),
            ", ".join(COLUMNS),
        )


def text_of(value: Any, key: str, where: str) -> str:
    """A cell as text without space around it; ``""`` where there is none.

    Raises:
        DataError: neither a text nor a number.
    """
    if value is None or value != value:  # NaN is what some write where nothing is known
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise DataError(f"{where}: {key} is {value!r}; write it as text")


def choices_of(value: Any, where: str) -> tuple[str, ...]:
    """The choices of a cell: a list of texts, or one text with ``|`` between them.

    Raises:
        DataError: something else, or a single choice.
    """
    parts = value.split("|") if isinstance(value, str) else () if value is None else value
    if not isinstance(parts, list | tuple):
        raise DataError(f"{where}: choices is {value!r}; write a list of texts")
    found = tuple(text for part in parts if (text := text_of(part, "a choice", where)))
    if len(found) == 1:
        raise DataError(
            f"{where}: choices is {value!r}, a single one; write them as yes|no, or as a list; or "
            "leave it empty"
        )
    if len(set(found)) < len(found):
        raise DataError(f"{where}: choices is {value!r}, which holds one of them twice")
    return found


def check_columns(there: Iterable[str], where: str, noun: str = "") -> None:
    """Refuse a table that lacks a column, or has one by another spelling.

    Args:
        there: the names of its columns.
        where: the words that say which table, or which row, has them.
        noun: what they are called.

    Raises:
        DataError: names what there is, and the nearest name.
    """
    there = [str(name) for name in there]
    absent = [name for name in COLUMNS if name not in there]
    meant = {}
    for name in there:
        near = get_close_matches(name.strip().lower(), absent, n=1, cutoff=0.82)
        if name not in COLUMNS and near:
            meant[name] = near[0]
    advice = "".join(f"; {name!r} is not read: write {near}" for name, near in meant.items())
    if missing := [name for name in REQUIRED if name in absent]:
        raise DataError(
            f"{where} has no {noun}{', '.join(missing)}; there is: {', '.join(there) or 'nothing'}"
            + advice
        )
    if meant:
        raise DataError(f"{where} has {noun}names that nobody reads{advice}")


def _csv(table: Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.DictReader(StringIO(text), strict=True, skipinitialspace=True)
    try:
        header = list(reader.fieldnames or ())
        check_columns(header, str(table), "column ")
        if twice := [name for name in dict.fromkeys(header) if name and header.count(name) > 1]:
            raise DataError(f"{table} has the column {', '.join(twice)} twice; keep one of them")
        for row in reader:
            where = f"{table}, line {reader.line_num}"
            if None in row:
                raise DataError(
                    f"{where} has more cells than the header; put text with commas in double quotes"
                )
            if short := [name for name in REQUIRED if row[name] is None]:
                raise DataError(
                    f"{where} ends before its {', '.join(short)}; write every cell, empty ones too"
                )
            yield where, row
    except csv.Error as error:
        raise DataError(f"cannot read {table}, line {reader.reader.line_num}: {error}") from error


def _jsonl(table: Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    # Not splitlines: it would also cut a text at U+2028, which JSON allows inside strings.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{table}, line {number}"
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise DataError(f"cannot read {where}: {error}") from error
        if not isinstance(row, dict):
            raise DataError(f"{where} is no object; write {{...}} on each line")
        check_columns(row, where)
        yield where, row
