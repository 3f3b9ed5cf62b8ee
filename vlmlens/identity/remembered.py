"""Hashes of pictures' files, kept beside them: a set is decoded once, not at every start."""

import logging
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import PIL
import pyarrow as pa
import pyarrow.parquet as pq

from vlmlens.identity.libraries import vlmlens_version
from vlmlens.identity.pictures import KNOWN

LOG = logging.getLogger(__name__)
#: Beside the pictures; hidden, so that no data set takes it for one of its own.
NAME = ".vlmlens-pictures.parquet"
#: New hashes that are worth a file.
LEAST = 16
STATE = ("inode", "size", "mtime", "ctime")


def recall(paths: Iterable[str | Path]) -> None:
    """Read what is known of these files from the notes that lie beside them.

    A hash counts while the file's size, times and inode are those that it was made of, under this
    version of vlmlens and of Pillow, which decodes.

    Examples:
        >>> from vlmlens import identity
        >>> identity.recall(["photographs/1.png"])  # no note lies there: nothing is known
    """
    for folder in {Path(path).parent for path in paths}:
        note = folder / NAME
        try:
            if not note.is_file():
                continue
            table = pq.read_table(note)
        except (OSError, pa.ArrowException) as error:
            LOG.warning("%s is not read (%s): its pictures are looked at again", note, error)
            continue
        if (table.schema.metadata or {}).get(b"made") != _made():
            continue
        columns = (table[name].to_pylist() for name in ("name", *STATE, "pixels"))
        for name, *state, pixels in zip(*columns, strict=True):
            KNOWN.setdefault(str(folder / name), (tuple(state), pixels))


def keep(paths: Iterable[str | Path]) -> None:
    """Write what was found of these files beside them, where there is something new.

    Examples:
        >>> from vlmlens import identity
        >>> identity.keep(["photographs/1.png"])  # one picture is worth no note
    """
    by_folder: defaultdict[Path, dict[str, tuple[tuple[int, ...], str]]] = defaultdict(dict)
    for path in map(Path, paths):
        if str(path) in KNOWN:
            by_folder[path.parent][path.name] = KNOWN[str(path)]
    for folder, known in by_folder.items():
        note = folder / NAME
        try:
            old = pq.read_metadata(note).num_rows if note.is_file() else 0
            if len(known) >= old + LEAST:
                _write(note, known)
        except (OSError, pa.ArrowException) as error:
            LOG.info("%s is not written (%s): pictures are looked at again next time", note, error)


def _write(note: Path, known: dict[str, tuple[tuple[int, ...], str]]) -> None:
    states = zip(*(state for state, _ in known.values()), strict=True)
    columns: dict[str, object] = {"name": list(known), **dict(zip(STATE, states, strict=True))}
    table = pa.table(columns | {"pixels": [pixels for _, pixels in known.values()]})
    part = note.with_name(f"{NAME}.{os.getpid()}.part")
    try:
        pq.write_table(table.replace_schema_metadata({b"made": _made()}), part)
        part.replace(note)
    finally:
        part.unlink(missing_ok=True)


def _made() -> bytes:
    return f"vlmlens {vlmlens_version()}, Pillow {PIL.__version__}".encode()
