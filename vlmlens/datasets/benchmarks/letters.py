"""Options in a text, and letters that name one."""

import re
from string import ascii_uppercase

from vlmlens.errors import DataError

#: An option that is listed in a text: a letter in brackets, or before a bracket, full stop or
#: colon, where a word could begin.
MARK = re.compile(r"(?<!\w)(?:\(([A-Za-z])\)|([A-Z])[.):](?=\s))\s*")


def options(text: str) -> tuple[str, tuple[str, ...]]:
    """A question, and the options that are listed after it in the same text.

    They begin with A and follow each other without a gap; what looks like one but is out of
    order belongs to the text. Where each begins a line, it ends with that line. Without options,
    the whole text and ().
    """
    kept: list[re.Match] = []
    for mark in MARK.finditer(text):
        letter = (mark[1] or mark[2]).upper()
        if letter == ascii_uppercase[len(kept)]:
            kept.append(mark)
    if len(kept) < 2:
        return text.strip(), ()
    ends = [mark.start() for mark in kept[1:]] + [len(text)]
    parts = [text[mark.end() : end] for mark, end in zip(kept, ends, strict=True)]
    if all(text[: mark.start()].rstrip(" \t").endswith("\n") for mark in kept):
        parts = [part.partition("\n")[0] for part in parts]  # an option a line, then other text
    found = tuple(part.strip().rstrip(",;").strip() for part in parts)
    return text[: kept[0].start()].strip(), found


def chosen(letter: str, choices: tuple[str, ...], where: str) -> str:
    """The option that a letter names: ``A``, ``a``, ``(A)`` or ``A.``.

    Raises:
        DataError: it is no letter, or none of theirs.
    """
    bare = letter.strip().strip("().: ").upper()
    place = ascii_uppercase.find(bare) if len(bare) == 1 else -1
    if not 0 <= place < len(choices):
        raise DataError(f"{where}: the answer {letter!r} names none of {len(choices)} choices")
    return choices[place]
