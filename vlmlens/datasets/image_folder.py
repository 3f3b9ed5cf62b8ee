"""A folder of the user's own images, with a table of questions or without one."""

import csv
import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

from PIL import Image

from vlmlens.errors import DataError, ImageError
from vlmlens.graders import right_choice
from vlmlens.sample import Sample

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
TABLES = ("questions.csv", "questions.jsonl")
REQUIRED = ("image", "question", "answer")


def image_folder(folder: str | Path, *, question: str = "Describe the image.") -> list[Sample]:
    """Samples of the images in a folder.

    With a table in it, one sample a row. ``questions.csv`` has a header with ``image`` (relative to
    the folder), ``question``, ``answer`` (empty where nobody knows it) and perhaps ``choices``
    (``yes|no``), ``category`` and ``id``; ``questions.jsonl`` has the same keys, an object a
    line, choices as a list. Other columns are left alone.

    Without a table, one sample for every image in it and in its subfolders, in the order of
    their paths, which are their ids; hidden files are left out.

    Args:
        folder: where the images are.
        question: what is asked of every image where there is no table.

    Raises:
        DataError: no folder, nothing in it, or a table or a row that cannot be used.
        ImageError: an image that is missing, empty or damaged, as far as that shows without
            decoding it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        state = "it is a file" if folder.exists() else "there is no such folder"
        raise DataError(f"cannot read the image folder {folder}: {state}")
    tables = [folder / name for name in TABLES if (folder / name).is_file()]
    if len(tables) == 2:
        raise DataError(f"{folder} holds both {' and '.join(TABLES)}; keep one of them")
    return _asked(folder, tables[0]) if tables else _found(folder, question)


def _found(folder: Path, question: str) -> list[Sample]:
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        # macOS leaves a hidden "._cat.png", which is no image, beside each "cat.png".
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not names:
        raise DataError(
            f"{folder} holds no images ({' '.join(s[1:] for s in SUFFIXES)}) and no "
            f"{' or '.join(TABLES)}; put some there, or name another folder"
        )
    for name in names:
        _check_image(folder / name, f"{folder}")
    return [Sample(question, (folder / name,), id=name) for name in names]


def _asked(folder: Path, table: Path) -> list[Sample]:
    samples: list[Sample] = []
    checked: set[Path] = set()
    lines: dict[str, str] = {}
    for where, row in _rows(table):
        if missing := [column for column in REQUIRED if column not in row]:
            raise DataError(
                f"{where} has no {', '.join(missing)}; there is: {', '.join(row) or 'nothing'}"
            )
        image, question, answer, category, name = (
            _text(row.get(key), key, where) for key in (*REQUIRED, "category", "id")
        )
        if not image or not question:
            raise DataError(f"{where} has an empty {'question' if image else 'image'}; fill it in")
        path = folder / image
        if path not in checked:
            _check_image(path, where)
            checked.add(path)
        choices = _choices(row.get("choices"), where)
        if answer and choices and right_choice(answer, choices) is None:
            raise DataError(f"{where}: the answer {answer!r} is none of the choices {choices}")
        name = name or f"{image}:{len(samples) + 1}"
        if name in lines:
            raise DataError(f"{where} has the id {name!r} of {lines[name]}; ids must differ")
        lines[name] = where
        samples.append(Sample(question, (path,), answer or None, choices, category, name))
    if not samples:
        raise DataError(f"{table} asks nothing: below its header, it needs a row for each question")
    return samples


def _rows(table: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row of a table, with the words that say where it is."""
    try:
        text = table.read_text(encoding="utf-8-sig")  # Excel begins with a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the table {table}: {error}; save it as UTF-8") from error
    return (_csv_rows if table.suffix == ".csv" else _jsonl_rows)(table, text)


def _csv_rows(table: Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.DictReader(StringIO(text), strict=True, skipinitialspace=True)
    try:
        header = reader.fieldnames or ()
        if absent := [column for column in REQUIRED if column not in header]:
            raise DataError(
                f"{table} has no column {', '.join(absent)}; "
                f"there is: {', '.join(header) or 'nothing'}"
            )
        for row in reader:
            where = f"{table}, line {reader.line_num}"
            if None in row:
                raise DataError(
                    f"{where} has more cells than the header; put text with commas in double quotes"
                )
            yield where, row
    except csv.Error as error:
        raise DataError(f"cannot read {table}, line {reader.reader.line_num}: {error}") from error


def _jsonl_rows(table: Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    # Not splitlines: it would also cut a text at U+2028, which JSON allows inside strings.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{table}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"cannot read {where}: {error}") from error
        if not isinstance(row, dict):
            raise DataError(f"{where} is no object; write {{...}} on each line")
        yield where, row


def _text(value: Any, key: str, where: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise DataError(f"{where}: {key} is {value!r}; write it as text")


def _choices(value: Any, where: str) -> tuple[str, ...]:
    parts = value.split("|") if isinstance(value, str) else value or ()
    if not isinstance(parts, list | tuple):
        raise DataError(f"{where}: choices is {value!r}; write a list of texts")
    return tuple(text for part in parts if (text := _text(part, "a choice", where)))


def _check_image(path: Path, where: str) -> None:
    if not path.is_file():
        raise ImageError(f"{where}: there is no image {path}; correct its name or put it there")
    if path.stat().st_size == 0:
        raise ImageError(f"{where}: the image {path} is empty; replace it or take it out")
    try:
        with Image.open(path) as image:
            image.verify()
    except Exception as error:  # Pillow's readers raise whatever they stumble over
        raise ImageError(
            f"{where}: {path} is no readable image ({error}); replace it or take it out"
        ) from error
