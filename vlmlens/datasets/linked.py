"""Pictures that a set's files name by their addresses: each whole, or not there."""

import http.client
import os
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from vlmlens.datasets.benchmarks.manifest import File
from vlmlens.errors import FetchError, UnreachableError

#: Seconds without an answer; how many pictures are told of at once.
PATIENCE, TOLD = 60, 100


def fetch_linked(
    linked: Sequence[tuple[str, str]], folder: Path, say: Callable[[str], None]
) -> dict[str, File]:
    """Download pictures into a folder; those that are there are not downloaded again.

    A picture has its name only when all of it is there and it opens.

    Args:
        linked: an address each, and the name of the file below the folder.
        folder: where they go.
        say: told how many are there.

    Returns:
        The files, by their names.

    Raises:
        UnreachableError: an address that cannot be reached; says how many pictures are there.
        FetchError: what was sent is no picture.
    """
    files = {}
    for number, (address, name) in enumerate(linked, 1):
        path = folder / name
        if not path.is_file():
            try:
                _download(address, path)
            except (OSError, http.client.HTTPException) as error:  # urllib's are among these
                raise UnreachableError(
                    f"{address} cannot be reached from here ({type(error).__name__}: {error}): "
                    f"{number - 1} of {len(linked)} pictures are there. Fetch again, or put it "
                    f"into {path.parent} by other means"
                ) from error
        files[name] = File(path.stat().st_size)
        if number % TOLD == 0 or number == len(linked):
            say(f"{number} of {len(linked)} pictures are there")
    return files


def _download(address: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with urllib.request.urlopen(address, timeout=PATIENCE) as sent:
            whole, data = sent.headers.get("Content-Length"), sent.read()
        if whole is not None and len(data) != int(whole):
            raise OSError(f"{len(data)} of {whole} bytes were sent")
        part.write_bytes(data)
        try:
            with Image.open(part) as image:
                image.load()
        except Exception as error:  # Pillow's readers raise whatever they stumble over
            raise FetchError(f"what {address} sends is no picture ({error})") from error
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
