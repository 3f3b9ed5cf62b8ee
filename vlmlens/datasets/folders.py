"""A folder of the user's own images, with a table of questions or without one."""

import logging
from collections.abc import Mapping
from pathlib import Path

from vlmlens.annotations import checked
from vlmlens.datasets.files import SUFFIXES, Listing, check_pictures, listing, named, plugin
from vlmlens.datasets.reading import ENDINGS
from vlmlens.datasets.tables import one_table, read_table
from vlmlens.errors import DataError
from vlmlens.picture import at_home, printable
from vlmlens.sample import Sample

QUESTION = "Describe the image."
#: Tables that are read whatever else lies beside them.
NAMES = ("questions.csv", "questions.jsonl")


@checked
def image_folder(
    folder: str | Path,
    *,
    question: str | None = None,
    columns: Mapping[str, str] | str | None = None,
    check: bool = True,
) -> list[Sample]:
    """Samples of the images in a folder.

    With a table in it, one sample a row: ``questions.csv`` or ``questions.jsonl``, or the only
    table (CSV, TSV, JSON, JSON lines, parquet) of another name, in the columns of ``read_table``:
    ``image`` (relative to the folder), ``question``, ``answer`` (empty where nobody knows it) and
    perhaps ``choices`` (``yes|no``, or a list), ``category`` and ``id``.

    Without a table, one sample for every image in it and in its subfolders, in the order of
    their paths, which are their ids. Linked folders are followed, each folder once; hidden files
    are left out. An image is what Pillow can open, whatever its ending (``.heic`` where
    ``pillow-heif`` is installed); of an animation the first picture is seen.
    Files that are none are named in the log. A file that may hold questions (``annotations.xml``,
    one of several tables, ``questions.csv`` one folder up) is never passed over: either it is read,
    or ``question`` says that all images are asked the same.

    Args:
        folder: where the images are.
        question: what is asked of every image, where there is no table; by default, if nothing
            there looks like one either, ``"Describe the image."``.
        columns: what the table's columns hold, where their names do not say so.
        check: read every image once, so that what is missing or damaged is named now.

    Raises:
        DataError: no folder, nothing in it, a table or a row that cannot be used, a file that may
            hold questions and is not read, or a ``question`` beside a table that asks others.
        ImageError: images that are missing, empty or damaged; all of them are named.

    Examples:
        >>> from pathlib import Path
        >>> folder = Path("pictures")
        >>> folder.mkdir()
        >>> sample.images[0]().save(folder / "shapes.png")
        >>> found = vl.datasets.image_folder(folder)
        >>> found[0].id, found[0].question
        ('shapes.png', 'Describe the image.')
    """
    folder = at_home(folder)
    if not folder.is_dir():
        state = "it is a file" if folder.exists() else "there is no such folder"
        raise DataError(f"cannot read the image folder {printable(folder)}: {state}")
    if question is not None and not question.strip():
        raise DataError("the question is empty; say what is asked of every image")
    table, there = _looked(folder, question)
    if table is not None and question is not None:
        raise DataError(
            f"{table} asks its own questions, so {question!r} would be asked of no image; "
            "leave it out, or take the table away"
        )
    if table is None and columns is not None:
        raise DataError(f"columns={columns!r} are of a table, and none in {folder} is read")
    found = _asked(table, columns) if table else _found(folder, there, question)
    if check:
        check_pictures(found)
    return found


def table_of(folder: str | Path) -> Path | None:
    """The table that ``image_folder`` reads questions from; None for none."""
    return _looked(at_home(folder), None)[0]


@checked
def left_out(folder: str | Path, question: str | None = None) -> list[str]:
    """The files that ``image_folder`` leaves out, as it names them; none where a table asks.

    Examples:
        >>> from pathlib import Path
        >>> folder = Path("pictures")
        >>> folder.mkdir()
        >>> sample.images[0]().save(folder / "shapes.png")
        >>> _ = (folder / "notes.txt").write_text("none of the images")
        >>> vl.datasets.left_out(folder)
        ['notes.txt']
    """
    folder = at_home(folder)
    table, there = _looked(folder, question)
    if table is not None:
        return []
    return [printable(path.relative_to(folder)) for path in (*there.tables, *there.others)]


def _looked(folder: Path, question: str | None) -> tuple[Path | None, Listing]:
    """The table that asks, and what there is where none does."""
    own = [folder / name for name in NAMES if (folder / name).is_file()]
    if len(own) == 2:
        raise DataError(f"{folder} holds both {' and '.join(NAMES)}; keep one of them")
    if own:
        return own[0], Listing((), (), ())
    there = listing(folder)
    one = one_table(there.tables) if question is None and there.tables else None
    if one is not None and one.parent == folder and one.suffix.lower() in ENDINGS:
        return one, there
    return None, there


def _found(folder: Path, there: Listing, question: str | None) -> list[Sample]:
    if there.tables and question is None:
        raise DataError(
            f"{folder} holds {named(there.tables, folder)}, which may hold questions and would not "
            f"be read. {ways_to_ask(folder)}"
        )
    if question is None and (above := _above(folder)):
        raise DataError(
            f"{folder} holds no table of questions, but {above} lies one folder up, and would not "
            f"be read: name that file, or its folder. {ways_to_ask(folder)}"
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


def _above(folder: Path) -> Path | None:
    """The questions that lie beside a folder of pictures, and not in it."""
    parent = folder.resolve().parent
    return next((parent / name for name in NAMES if (parent / name).is_file()), None)


def _asked(table: Path, columns: Mapping[str, str] | str | None) -> list[Sample]:
    try:
        return read_table(table, columns=columns)
    except DataError as error:
        if table.name in NAMES:
            raise
        raise DataError(f"{error}. {ways_to_ask(table.parent)}") from error


def ways_to_ask(folder: Path) -> str:
    """What to do for the questions of a folder whose tables are not read."""
    return (
        f"Questions are read from {' or '.join(NAMES)}, or from the only other table in the folder "
        f"itself ({' '.join(ENDINGS)}): name the one you mean ({folder}/...), or say what every "
        "image is asked instead (question=..., or --question)"
    )
