"""Files that are whole or not there at all, and the folders that they lie in."""

import errno
import os
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vlmlens.errors import DataError

DAY = 24 * 3600


def whole(path: Path, save: Callable[[Path], Any]) -> Path:
    """Let something write a file beside its place, and put it there once it is on the disk.

    Raises:
        DataError: it cannot be written.
    """
    part = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.part")
    try:
        save(part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
        _settle(path.parent)
    except (OSError, RuntimeError) as error:  # HDF5 says of a full disk what it likes
        said = getattr(error, "strerror", None) or error
        raise DataError(
            f"cannot write {path} ({said}); what was finished before is kept: make room or name "
            "another folder, and run again"
        ) from error
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} cannot hold this table: {error}") from error
    finally:
        part.unlink(missing_ok=True)
    return path


def sweep_parts(folder: Path) -> None:
    """Remove what processes that are no more left half written."""
    for part in folder.glob(".*.part"):
        *_, host, pid, _ = ("", *part.name.split("."))[-4:]
        here = host in ("nc", socket.gethostname()) and pid.isdigit()
        try:
            old = time.time() - part.stat().st_mtime > DAY
            if old if not here else not runs(int(pid)):
                part.unlink(missing_ok=True)
        except OSError:  # somebody else's, or gone by now
            continue


def make(folder: Path) -> None:
    """Make a folder for results.

    Raises:
        DataError: it cannot be made; says why.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        gone = folder.is_symlink() and f"it is a link to {folder.readlink()}, which is not there"
        raise _refused(folder, gone or "it is a file") from error
    except OSError as error:
        raise _refused(folder, error.strerror) from error
    except ValueError as error:  # a NUL in its name
        raise _refused(folder, error) from error


def _refused(folder: Path, why: object) -> DataError:
    return DataError(f"cannot keep results in {str(folder)!r}: {why}; name another folder")


def unwritable(folder: Path) -> str:
    """Why nothing can be written into a folder; "" where it can."""
    try:
        own = f".{socket.gethostname()}.{os.getpid()}.part"
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".try.", suffix=own) as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return f"the disk of {folder} is full"
        return f"nothing can be written into {folder} ({error.strerror})"
    return ""


def runs(pid: int) -> bool:
    """Whether a process of this machine still runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _settle(folder: Path) -> None:
    """Have the disk know of a new name, where folders can be asked to."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
