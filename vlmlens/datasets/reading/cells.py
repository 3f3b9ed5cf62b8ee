"""What a cell of a table says: a text, several choices, or pictures."""

import ast
import json
import math
import re
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from tokenize import STRING, generate_tokens
from typing import Any

from vlmlens.datasets.reading.pictures import Base64, InParquet
from vlmlens.errors import DataError
from vlmlens.picture import Encoded, Picture

#: How PNG, JPEG, GIF, WebP, BMP and TIFF begin in base64; such a text is no file's name.
BASE64 = re.compile(
    r"(iVBORw0KGgo|/9j/|R0lGOD|UklGR|Qk[0-9A-Za-z]|SUkqA|TU0AK)[A-Za-z0-9+/=\s]{40}"
)
#: What programs write in the place of a cell that is empty.
UNKNOWN = ("nan", "null", "<na>")
#: No file's name is longer.
LONGEST = 4096


def text_of(value: Any, key: str, where: str) -> str:
    """A cell as text without space around it; ``""`` where there is none.

    Raises:
        DataError: neither a text nor a number.
    """
    if value is None or value != value:  # NaN is what some write where nothing is known
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return str(value)
    raise DataError(f"{where}: {key} is {value!r:.80}; write it as text")


def choices_of(value: Any, where: str) -> tuple[str, ...]:
    """The choices of a cell: a list of texts, or one text, ``|`` between, or a list written out.

    Raises:
        DataError: something else, a single choice, or one of them twice.
    """
    parts = () if value is None or value != value else value
    if isinstance(value, str):
        parts = _listed(value) or value.split("|")
    if not isinstance(parts, list | tuple):
        raise DataError(f"{where}: choices is {value!r:.80}; write a list of texts")
    found = tuple(text for part in parts if (text := text_of(part, "a choice", where)))
    if len(found) == 1:
        raise DataError(
            f"{where}: choices is {value!r}, a single one; write them as yes|no, or as a list; or "
            "leave it empty"
        )
    return _different(found, value, where)


def options_of(values: Sequence[Any], where: str) -> tuple[str, ...]:
    """The options of cells A, B, ..., of which the last ones may be empty, or ``nan``.

    Raises:
        DataError: one is empty before another, is the only one, or is there twice.
    """
    found = tuple(text_of(value, "an option", where) for value in values)
    while found and (not found[-1] or found[-1].casefold() in UNKNOWN):
        found = found[:-1]
    if "" in found or len(found) == 1:
        raise DataError(f"{where}: the options are {found}; fill in A, B and so on, without a gap")
    return _different(found, found, where)


def _different(found: tuple[str, ...], value: Any, where: str) -> tuple[str, ...]:
    if len(set(found)) < len(found):
        raise DataError(f"{where}: choices is {value!r}, which holds one of them twice")
    return found


def pictures_of(value: Any, folder: Path, where: str) -> tuple[Picture, ...]:
    """The pictures of a cell; none where it is empty.

    A cell is the name of a file in the folder, a picture in base64 or as a data URL, the bytes of
    one, ``{"bytes": ..., "path": ...}`` as the hub writes it, or a list of these,
    as such or written out.

    Raises:
        DataError: it is something else.
    """
    if value is None or value != value:
        return ()
    if isinstance(value, InParquet):
        return (value,)
    if isinstance(value, list | tuple):
        return tuple(picture for part in value for picture in pictures_of(part, folder, where))
    if isinstance(value, dict) and {"bytes", "path"} & set(value):
        return pictures_of(value.get("bytes") or value.get("path"), folder, where)
    if isinstance(value, bytes):
        return (Encoded(value, where),) if value else ()
    if not (text := text_of(value, "image", where)):
        return ()
    if parts := _listed(text):
        return pictures_of(parts, folder, where)
    if text.startswith("data:image/"):
        return (Base64(text.partition(",")[2], where),)
    if BASE64.match(text):
        return (Base64(text, where),)
    if text.startswith(("http://", "https://")):
        raise DataError(
            f"{where}: image is the address {text:.80}; nothing is downloaded: save the picture, "
            "and write the name of its file"
        )
    if len(text) > LONGEST:
        raise DataError(
            f"{where}: image is neither a file's name nor a picture in base64: {text[:40]!r}..."
        )
    return (folder / text,)


def _listed(text: str) -> list[Any] | None:
    """The list that a text writes out, as JSON or Python does; None where it is none."""
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return None
    for read in (json.loads, _python_list):
        try:
            found = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return found if isinstance(found, list) else None
    return None


def _python_list(text: str) -> Any:
    """A list as Python writes it: numpy leaves commas out, and Python then joins the texts."""
    found = ast.literal_eval(text)
    texts = [t for t in generate_tokens(StringIO(text).readline) if t.type == STRING]
    if len(texts) != sum(isinstance(each, str) for each in found):
        raise ValueError("texts that follow each other without a comma")
    return found
