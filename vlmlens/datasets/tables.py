"""A table of questions, in any format that is read: a row is a question about pictures."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from vlmlens.annotations import checked
from vlmlens.datasets.benchmarks.benchmark import Prompt
from vlmlens.datasets.reading import Base64, Columns, Row, as_mapping, rows
from vlmlens.datasets.reading.cells import (
    UNKNOWN,
    choices_of,
    options_of,
    pictures_of,
    text_of,
)
from vlmlens.datasets.reading.columns import USUAL
from vlmlens.errors import DataError
from vlmlens.graders import right_choice
from vlmlens.picture import at_home
from vlmlens.sample import Picture, Sample

#: How a question is put whose options stand in columns A, B, ...: as lmms-eval and LLaVA do.
LETTERS = Prompt(
    "{question}\n{options}\nAnswer with the option's letter from the given choices directly.",
    answer="{letter}",
)
#: A part of a split, as the hub names it.
PART = re.compile(r"(.+)-\d{5}-of-(\d{5})\.parquet")
#: So many rows that cannot be used are told; of more, how many there are.
TOLD = 10


@checked
def read_table(path: str | Path, *, columns: Mapping[str, str] | str | None = None) -> list[Sample]:
    """The questions of a CSV, TSV, JSON, JSON lines or parquet file, a sample a row.

    Columns are known by their usual names (``image``, ``question``, ``answer`` and perhaps
    ``choices``, ``category``, ``id``; see ``reading.columns.USUAL``), or as ``columns`` names them.
    A picture is a file's name, relative to the table's folder; base64; a data URL; or bytes, as the
    hub's parquet files hold them. Where options stand in columns ``A``, ``B``, ..., as VLMEvalKit
    writes them, or ``a``, ``option_a``, ..., they are listed below the question and its answer
    is a letter; an image there may
    be the ``index`` of another row, which holds it. A file of the hub that is one of several parts
    (``test-00000-of-00002.parquet``) stands for all of them. Other columns are named in the log.

    Args:
        path: of the table.
        columns: what holds what: ``{"question": "text"}``, or ``"question=text,answer=label"``.

    Raises:
        DataError: no such file, a part or a column that is missing (the nearest is named), options
            that leave a letter out, or rows that cannot be used; the first ten are told.

    Examples:
        >>> from pathlib import Path
        >>> row = '{"image": "a.png", "question": "What is this?", "gold_answer": "a cat"}'
        >>> _ = Path("mine.jsonl").write_text(row)
        >>> found = vl.datasets.read_table("mine.jsonl", columns="answer=gold_answer")
        >>> found[0].question, found[0].answer, found[0].images[0].name
        ('What is this?', 'a cat', 'a.png')
    """
    path = at_home(path)
    known = Columns(as_mapping(columns))
    asked = _Asked()
    for row in (row for part in _parts(path) for row in rows(part, known.look)):
        asked.add(row, known, path.parent)
    known.finish()
    if known.unread:
        logging.getLogger("vlmlens").warning(
            "%s: the columns %s are not read; there is: %s (--columns FIELD=COLUMN reads another)",
            path,
            ", ".join(known.unread),
            ", ".join(USUAL),
        )
    return asked.samples(path)


def one_table(files: Sequence[Path]) -> Path | None:
    """The table that files are: one file, or the first of the parts of one split; else None."""
    cut = [PART.fullmatch(file.name) for file in files]
    same = {(file.parent, *each.groups()) for file, each in zip(files, cut, strict=True) if each}
    return min(files) if len(files) == 1 or (all(cut) and len(same) == 1) else None


def _parts(path: Path) -> list[Path]:
    """The files that a table is in: one, or the parts that the hub cuts a split into."""
    cut = PART.fullmatch(path.name)
    if cut is None or not path.is_file():
        return [path]
    name, count = cut.groups()
    parts = [path.with_name(f"{name}-{n:05d}-of-{count}.parquet") for n in range(int(count))]
    if gone := [part.name for part in parts if not part.is_file()]:
        more = f" and {len(gone) - 5} more" if len(gone) > 5 else ""
        raise DataError(
            f"{path} is one of {int(count)} parts, and {', '.join(gone[:5])}{more} is not there; "
            "put all into the folder, or give a part that is meant alone another name"
        )
    return parts


class _Asked:
    """The questions so far, and what was wrong with rows."""

    def __init__(self):
        self.found: list[Sample] = []
        self.wrong: list[str] = []
        self.names: dict[str, str] = {}
        self.cells: dict[tuple, str] = {}
        #: Pictures that stand in the table, by their rows' ids; and, by a sample's place, names of
        #: files that may be such an id.
        self.held: dict[str, tuple[Picture, ...]] = {}
        self.files: dict[int, str] = {}

    def add(self, row: Row, known: Columns, folder: Path) -> None:
        try:
            self._add(row, known, folder)
        except DataError as error:
            self.wrong.append(str(error))

    def _add(self, row: Row, known: Columns, folder: Path) -> None:
        where, fields = row.where, known.fields
        question, answer = (text_of(row[fields[key]], key, where) for key in ("question", "answer"))
        category, name = (
            text_of(row.get(fields.get(key, "")), key, where) for key in ("category", "id")
        )
        images = pictures_of(row[fields["image"]], folder, where)
        if not images or not question:
            raise DataError(f"{where} has an empty {'question' if images else 'image'}; fill it in")
        options = options_of([row.get(letter) for letter in known.letters], where)
        choices = options or choices_of(row.get(fields.get("choices", "")), where)
        if answer.casefold() in UNKNOWN and answer not in choices:
            answer = ""
        right = right_choice(answer, choices) if answer and choices else None
        if answer and choices and right is None:
            raise DataError(f"{where}: the answer {answer!r} is none of the choices {choices}")
        self._once((images, question, answer, choices, category, name), where)
        cell = row[fields["image"]]
        file = str(cell).strip() if images[0] == folder / str(cell).strip() else ""
        name = name or f"{file}:{len(self.found) + 1}".lstrip(":")
        if name in self.names:
            raise DataError(f"{where} has the id {name!r} of {self.names[name]}; ids must differ")
        self.names[name] = where
        if isinstance(images[0], Base64):
            self.held[name] = images
        elif file:
            self.files[len(self.found)] = file
        sample = Sample(question, images, answer or None, choices, category, name, where)
        if options:
            sample = replace(sample, answer=None if right is None else choices[right])
            sample = replace(LETTERS.ask(sample), form="letters")
        self.found.append(sample)

    def _once(self, cells: tuple, where: str) -> None:
        if cells in self.cells:
            raise DataError(
                f"{where} says what {self.cells[cells]} says already; take one of them out, or "
                "give them ids that differ"
            )
        self.cells[cells] = where

    def samples(self, path: Path) -> list[Sample]:
        if self.wrong:
            heading = f"{len(self.wrong)} rows cannot be used: " if len(self.wrong) > 1 else ""
            more = f"; and {len(self.wrong) - TOLD} more" if len(self.wrong) > TOLD else ""
            raise DataError(heading + "; ".join(self.wrong[:TOLD]) + more)
        if not self.found:
            raise DataError(
                f"{path} asks nothing: below its header, it needs a row for each question"
            )
        for place, name in self.files.items():
            if name in self.held:
                self.found[place] = replace(self.found[place], images=self.held[name])
        return self.found
