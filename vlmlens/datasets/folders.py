"""A folder of the user's own images, with a table of questions or without one."""

import logging
from pathlib import Path

from vlmlens.checks import told
from vlmlens.datasets.files import SUFFIXES, check_pictures, listing, named, plugin
from vlmlens.datasets.tables import COLUMNS, NAMES, REQUIRED, choices_of, rows, text_of
from vlmlens.errors import DataError
from vlmlens.graders import right_choice
from vlmlens.picture import at_home, printable
from vlmlens.sample import Sample

QUESTION = "Describe the image."


@told
def image_folder(
    folder: str | Path, *, question: str | None = None, check: bool = True
) -> list[Sample]:
    """Samples of the images in a folder.

    With a table in it, one sample a row. ``questions.csv`` has a header with ``image`` (relative to
    the folder), ``question``, ``answer`` (empty where nobody knows it) and perhaps ``choices``
    (``yes|no``), ``category`` and ``id``; ``questions.jsonl`` has the same keys, an object a
    line, choices as a list. Other columns are named in the log, and not read.

    Without a table, one sample for every image in it and in its subfolders, in the order of
    their paths, which are their ids. Linked folders are followed, each folder once; hidden files
    are left out. An image is what Pillow can open, whatever its ending (``.heic`` where
    ``pillow-heif`` is installed); of an animation the first picture is seen.
    Files that are none are named in the log. A file that may hold questions (``Questions.csv``,
    ``annotations.json``) is never passed over: either it is written as such a table, or
    ``question`` says that all images are asked the same.

    Args:
        folder: where the images are.
        question: what is asked of every image, where there is no table; by default, if nothing
            there looks like one either, ``"Describe the image."``.
        check: read every image once, so that what is missing or damaged is named now.

    Raises:
        DataError: no folder, nothing in it, a table or a row that cannot be used, a file that may
            hold questions and is not read, or a ``question`` beside a table that asks others.
        ImageError: images that are missing, empty or damaged; all of them are named.
    """
    folder = at_home(folder)
    if not folder.is_dir():
        state = "it is a file" if folder.exists() else "there is no such folder"
        raise DataError(f"cannot read the image folder {printable(folder)}: {state}")
    if question is not None and not question.strip():
        raise DataError("the question is empty; say what is asked of every image")
    tables = [folder / name for name in NAMES if (folder / name).is_file()]
    if len(tables) == 2:
        raise DataError(f"{folder} holds both {' and '.join(NAMES)}; keep one of them")
    if tables and question is not None:
        raise DataError(
            f"{tables[0]} asks its own questions, so {question!r} would be asked of no image; "
            "leave it out, or take the table away"
        )
    found = _asked(folder, tables[0]) if tables else _found(folder, question)
    if check:
        check_pictures(found)
    return found


def left_out(folder: str | Path) -> list[str]:
    """The files that ``image_folder`` leaves out, as it names them; none where a table asks."""
    folder = at_home(folder)
    if any((folder / name).is_file() for name in NAMES):
        return []
    there = listing(folder)
    return [printable(path.relative_to(folder)) for path in (*there.tables, *there.others)]


def _found(folder: Path, question: str | None) -> list[Sample]:
    there = listing(folder)
    if there.tables and question is None:
        raise DataError(
            f"{folder} holds {named(there.tables, folder)}, which may hold questions and would not "
            f"be read. Questions are read from {' or '.join(NAMES)} in the folder itself, in the "
            f"columns {', '.join(COLUMNS)} (the last three may be left out): write them so, or "
            "say what every image is asked instead (question=..., or --question)"
        )
    if left := (*there.tables, *there.others):
        logging.getLogger("vlmlens").warning(
            "%s: left out, being no images that Pillow opens here (%d): %s%s",
            folder,
            len(left),
            named(left, folder),
            plugin(left),
        )
    if not there.pictures:
        raise DataError(
            f"{folder} holds no images ({' '.join(s[1:] for s in SUFFIXES)}) and no "
            f"{' or '.join(NAMES)}; put some there, or name another folder{plugin(left)}"
        )
    return [
        Sample(
            QUESTION if question is None else question,
            (path,),
            id=printable(path.relative_to(folder).as_posix()),
            source=printable(folder),
        )
        for path in there.pictures
    ]


def _asked(folder: Path, table: Path) -> list[Sample]:
    samples: list[Sample] = []
    lines: dict[str, str] = {}
    asked: dict[tuple[str | tuple[str, ...] | None, ...], str] = {}
    for where, row in rows(table):
        image, question, answer, category, name = (
            text_of(row.get(key), key, where) for key in (*REQUIRED, "category", "id")
        )
        if not image or not question:
            raise DataError(f"{where} has an empty {'question' if image else 'image'}; fill it in")
        choices = choices_of(row.get("choices"), where)
        if answer and choices and right_choice(answer, choices) is None:
            raise DataError(f"{where}: the answer {answer!r} is none of the choices {choices}")
        path = folder / image
        cells = (str(path), question, answer, choices, category, name)
        if cells in asked:
            raise DataError(
                f"{where} says what {asked[cells]} says already; take one of them out, or give "
                "them ids that differ"
            )
        asked[cells] = where
        name = name or f"{image}:{len(samples) + 1}"
        if name in lines:
            raise DataError(f"{where} has the id {name!r} of {lines[name]}; ids must differ")
        lines[name] = where
        samples.append(Sample(question, (path,), answer or None, choices, category, name, where))
    if not samples:
        raise DataError(f"{table} asks nothing: below its header, it needs a row for each question")
    return samples
