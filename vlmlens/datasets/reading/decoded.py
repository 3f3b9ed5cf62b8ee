"""A file of text, whatever program wrote it."""

import codecs
from pathlib import Path

from vlmlens.errors import DataError

#: What files begin with that are not UTF-8; of two that fit, the longer comes first.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
POINTER = "it is a pointer of git-lfs, and not the file: fetch that with git lfs pull"


def decoded(path: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 or UTF-32 where it begins by saying so.

    Raises:
        DataError: it cannot be read, or is in another encoding.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the table {path}: {error.strerror or error}") from error
    if data.startswith(b"version https://git-lfs"):
        raise DataError(f"cannot read the table {path}: {POINTER}")
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8-sig")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"cannot read the table {path}: {error}; save it as UTF-8") from error
    if "\0" in text:
        raise DataError(
            f"cannot read the table {path}: it holds the character NUL, as UTF-16 does; save it as "
            "UTF-8"
        )
    return text
