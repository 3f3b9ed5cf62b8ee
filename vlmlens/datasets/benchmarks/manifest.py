"""What was fetched of a set: a list of its files, written when all of them are there."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from vlmlens.errors import DataError

#: Written last; and written first, and removed last.
MANIFEST, BEGUN = "vlmlens-manifest.json", ".vlmlens-fetching"


@dataclass(frozen=True)
class File:
    """A file as it is published.

    Attributes:
        size: in bytes.
        sha256: of its contents; empty where that is not published.
    """

    size: int
    sha256: str = ""


def write(folder: Path, repo: str, revision: str, files: dict[str, File]) -> None:
    """Say that a set is complete, together with what was fetched of it before."""
    found = read(folder) | files
    told = {"repo": repo, "revision": revision}
    told |= {"files": {name: asdict(file) for name, file in sorted(found.items())}}
    part = folder / f"{MANIFEST}.part"
    part.write_text(json.dumps(told, indent=1), encoding="utf-8")
    part.replace(folder / MANIFEST)
    (folder / BEGUN).unlink(missing_ok=True)


def read(folder: Path) -> dict[str, File]:
    """The files that were fetched into a folder; none where nothing was, or by other means.

    Raises:
        DataError: a list that is damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    try:
        told = json.loads(path.read_text(encoding="utf-8"))["files"]
        return {str(name): File(int(f["size"]), str(f["sha256"])) for name, f in told.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is damaged ({error}); delete it, and fetch the set again"
        ) from error


def refuse_incomplete(folder: Path, name: str) -> None:
    """Refuse a set whose fetching was broken off, or whose files are not those that were fetched.

    Raises:
        DataError: says which file, and what to do.
    """
    again = f"vlmlens fetch {name} goes on where it stopped"
    if (folder / BEGUN).exists():
        raise DataError(
            f"{folder} is not complete, fetching it was broken off: {again}; or, with all files "
            f"put there by other means, delete {BEGUN} in it"
        )
    for file, told in read(folder).items():
        path = folder / file
        size = path.stat().st_size if path.is_file() else None
        if size != told.size:
            state = "is not there" if size is None else f"has {size} bytes"
            raise DataError(f"{path} {state}; what was fetched has {told.size}: {again}")
