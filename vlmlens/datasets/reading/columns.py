"""Which column holds what: by its usual name, or as the user says."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from string import ascii_uppercase

from vlmlens.errors import DataError, UnknownColumnError

REQUIRED = ("image", "question", "answer")
#: What a question is made of, and what people call it. Its own name comes first, and wins.
USUAL: dict[str, tuple[str, ...]] = {
    "image": ("image", "images", "image_path", "file_name", "filename", "img"),
    "question": ("question", "text", "prompt"),
    "answer": ("answer", "label", "gold", "ground_truth"),
    "choices": ("choices",),
    "category": ("category",),
    "id": ("id", "question_id", "index"),
}
#: How columns are called that hold options each; counted ones are refused.
_OPTION = re.compile(r"((?i:option|choice)[ _-]?(?=.)|)([A-Za-z]|(?<=.)[0-9])")
#: Letters that options have; others alone are coordinates as well as anything.
_FIRST = set(ascii_uppercase[:8])
HOW = "write FIELD=COLUMN, with commas between: question=text,answer=label"


def as_mapping(columns: Mapping[str, str] | str | None) -> dict[str, str]:
    """Columns that the user named, by what they hold: as a mapping, or as ``question=text,...``.

    Raises:
        DataError: no such text, something that no question has, or one of them twice.

    Examples:
        >>> from vlmlens.datasets.reading import as_mapping
        >>> as_mapping("question=text,answer=label")
        {'question': 'text', 'answer': 'label'}
    """
    if columns is None:
        return {}
    if isinstance(columns, str):
        pairs = [part.partition("=") for part in columns.split(",")]
        if not all(sign and field.strip() and name.strip() for field, sign, name in pairs):
            raise DataError(f"columns={columns!r}: {HOW}")
        given = [(field.strip(), name.strip()) for field, _, name in pairs]
    else:
        given = list(columns.items())
    for field, _ in given:
        if field not in USUAL:
            raise UnknownColumnError(field, USUAL, "(what a question is made of)")
    if len(dict(given)) < len(given):
        raise DataError(f"columns={columns!r} names something twice; {HOW}")
    names = [name for _, name in given]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"columns={columns!r}: {twice} cannot be two things; {HOW}")
    return dict(given)


class Columns:
    """What the columns of a table hold; it looks at them as ``rows`` comes to them.

    Attributes:
        fields: the column of each thing that a question is made of, in the rows that come now.
        letters: columns A, B and so on, or a, b, or option_a, option_b, which hold options.
        unread: columns that nobody reads.

    Examples:
        >>> from pathlib import Path
        >>> from vlmlens.datasets.reading import Columns, rows
        >>> row = '{"image": "a.png", "prompt": "What is this?", "label": "a cat", "by": "me"}'
        >>> _ = Path("mine.jsonl").write_text(row)
        >>> columns = Columns({})
        >>> found = list(rows("mine.jsonl", columns.look))
        >>> columns.fields, list(columns.unread)
        ({'image': 'image', 'question': 'prompt', 'answer': 'label'}, ['by'])
    """

    def __init__(self, named: Mapping[str, str]):
        self.named = dict(named)
        self.fields: dict[str, str] = {}
        self.letters: tuple[str, ...] = ()
        self.unread: dict[str, None] = {}
        self._met: dict[str, None] = {}

    def look(self, names: Sequence[str], where: str, noun: str) -> None:
        """See the columns of the rows that come now.

        Raises:
            DataError: one is missing, or is there by another spelling; it names the nearest.
        """
        there = [str(name) for name in names]
        self._met |= dict.fromkeys(there)
        found = {field: name for field, name in self.named.items() if name in there}
        taken = set(self.named.values())
        for field, usual in USUAL.items():
            free = [
                name for name in usual if name in there and (name == field or name not in taken)
            ]
            if field not in self.named and free:
                found[field] = _the_one(field, free, where)
        self.fields, self.letters = found, () if "choices" in found else _letters(there, where)
        used = {*found.values(), *self.letters}
        self._all_named(there, where, whole=bool(noun))
        _refuse(there, found, used, where, noun)
        self.unread |= dict.fromkeys(name for name in there if name and name not in used)

    def finish(self) -> None:
        """After the last row.

        Raises:
            DataError: a column that the user named was in no row.
        """
        if self._met:
            self._all_named(list(self._met), "no row has it", whole=True)

    def _all_named(self, there: Sequence[str], where: str, *, whole: bool) -> None:
        for field, name in self.named.items():
            if name not in there and (whole or field in REQUIRED):
                raise UnknownColumnError(name, there, f"({where})")


def _the_one(field: str, known: Sequence[str], where: str) -> str:
    if len(known) > 1 and known[0] != field and field in REQUIRED:
        raise DataError(
            f"{where} has {' and '.join(known)}, each of which may be the {field}; say which: "
            f"columns={{{field!r}: {known[0]!r}}}, or --columns {field}={known[0]}"
        )
    return known[0]


def _letters(there: Sequence[str], where: str) -> tuple[str, ...]:
    """The columns of options: A, B, ... as VLMEvalKit has them, or a, b, ..., or option_a, ....

    Raises:
        DataError: they leave a letter out, are counted, or are there in two spellings.
    """
    spelled: dict[tuple[str, bool], dict[str, str]] = {}
    for name in there:
        if option := _OPTION.fullmatch(name.strip()):
            spelled.setdefault((option[1].lower(), option[2].isupper()), {})[option[2]] = name
    sets = {how: found for how, found in spelled.items() if _are_options(how[0], set(found))}
    if not sets:
        return ()
    bare = ("", True)
    if len(sets) > 1 and bare not in sets:
        both = " and ".join(", ".join(found.values()) for found in sets.values())
        raise DataError(f"{where} has options in {both}; keep those that are meant")
    found = sets[bare] if bare in sets else next(iter(sets.values()))
    count = next((n for n, a in enumerate(ascii_uppercase) if not {a, a.lower()} & set(found)), 26)
    if any(name.upper() in _FIRST or name.isdigit() for name in list(_ordered(found))[count:]):
        raise DataError(
            f"{where} has options in {', '.join(found.values())}; name them A, B, C and so on, "
            "without a gap"
        )
    return tuple(_ordered(found).values())[:count]


def _ordered(found: Mapping[str, str]) -> dict[str, str]:
    return dict(sorted(found.items()))


def _are_options(before: str, names: set[str]) -> bool:
    """Whether letters are of options: two of them, of which one begins; r, g and b are none."""
    upper = {name.upper() for name in names}
    if before:
        return len(upper) > 1
    return len(upper & _FIRST) > 1 and ("A" in upper or {"B", "C"} <= upper)


def _refuse(
    there: Sequence[str], found: Mapping[str, str], used: set[str], where: str, noun: str
) -> None:
    absent = [field for field in USUAL if field not in found]
    meant = {}
    for name in there:
        near = get_close_matches(name.strip().lower(), absent, n=1, cutoff=0.82)
        if name not in used and name not in USUAL and near:
            meant[name] = near[0]
    advice = "".join(f"; {name!r} is not read: write {near}" for name, near in meant.items())
    if meant:
        told = ",".join(f"{near}={name}" for name, near in meant.items())
        advice += f" (or name it: --columns {told})"
    if missing := [field for field in REQUIRED if field in absent]:
        advice = advice or f"; write it, or name it: --columns {missing[0]}=COLUMN"
        raise DataError(
            f"{where} has no {noun}{', '.join(missing)}; there is: {', '.join(there) or 'nothing'}"
            + advice
        )
    if meant:
        raise DataError(f"{where} has {noun}names that nobody reads{advice}")
