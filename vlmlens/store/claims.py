"""Claims: who computes what, so that two runs on one store do no work twice.

A claim is a lock on one byte of one file, at a place that the work's key says. The system gives it
back when its process ends, however it ends.
"""

import errno
import logging
import os
from collections.abc import Iterable
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: two runs at once may do some work twice
    fcntl = None

LOG = logging.getLogger(__name__)
NAME = ".claims"


class Claims:
    """What this process holds of a store's work.

    Args:
        folder: the store's; one that cannot be locked in gives every claim.
    """

    def __init__(self, folder: Path):
        self._held: set[int] = set()
        self._file = self._opened(folder / NAME)

    def _opened(self, path: Path) -> int | None:
        if fcntl is None:
            return None
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:  # a folder that can only be read, into which nothing is computed
            return None

    def take(self, key: str) -> bool:
        """Claim some work; False where another process does it."""
        place = _place(key)
        if place not in self._held and not self._lock(place):
            return False
        self._held.add(place)
        return True

    def give_back(self, keys: Iterable[str]) -> None:
        """Some work is done, and on the disk."""
        for place in map(_place, keys):
            self._held.discard(place)
            if fcntl is not None and self._file is not None:
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)

    def close(self) -> None:
        """Give back all that is held, for good."""
        if self._file is not None:
            os.close(self._file)
        self._file, self._held = None, set()

    def _lock(self, place: int) -> bool:
        if fcntl is None or self._file is None:
            return True
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            LOG.warning("this disk has no locks (%s): runs at once may do work twice", error)
            os.close(self._file)
            self._file = None
        return True


def _place(key: str) -> int:
    return int(key[:15], 16)
