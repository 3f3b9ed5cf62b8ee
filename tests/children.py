"""Processes that tests start, and what they wait for: each has its time, and fails with its words.

Nothing waits for ever: a process that hangs would hold everything that comes after it.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vlmlens

#: Seconds that a process has which is expected to take a few.
LIMIT = 240.0
#: Where vlmlens is imported from, for Pythons of their own.
HOME = str(Path(vlmlens.__file__).parents[1])


def ran(
    *words: object, limit: float = LIMIT, status: int | None = 0, **how: Any
) -> subprocess.CompletedProcess:
    """A command that ended in time, with the status that it should have; None: with any."""
    try:
        told: Any = {"text": True, "capture_output": True} | how
        done = subprocess.run([str(word) for word in words], timeout=limit, **told)
    except subprocess.TimeoutExpired as late:
        said = _text(late.stdout) + _text(late.stderr)
        pytest.fail(f"no end within {limit:.0f} s: {words}\n{said}")
    assert status in (None, done.returncode), f"{done.returncode}\n{done.stdout}{done.stderr}"
    return done


def python(code: str, **how: Any) -> subprocess.CompletedProcess:
    """A Python of its own, which ran this."""
    return ran(sys.executable, "-c", code, **how)


def until(holds: Callable[[], object], what: str, limit: float = LIMIT) -> None:
    """Wait for something to hold."""
    end = time.monotonic() + limit
    while not holds():
        if time.monotonic() > end:
            pytest.fail(f"not within {limit:.0f} s: {what}")
        time.sleep(0.02)


def line_of(process: subprocess.Popen, limit: float = LIMIT) -> str:
    """The next line that a process prints."""
    there, _, _ = select.select([process.stdout], [], [], limit)
    if not there:
        pytest.fail(f"nothing was printed within {limit:.0f} s: {process.args}")
    return process.stdout.readline().strip()


def ended(process: Any, limit: float = LIMIT) -> None:
    """A process of ``multiprocessing`` that ended in time; it is killed where it did not."""
    process.join(limit)
    late = process.exitcode is None
    if late:
        process.kill()
        process.join(LIMIT)
    assert not late, f"no end within {limit:.0f} s: {process}"


def dies_with_its_parent() -> None:
    """A worker of a pool does not outlive the tests, however they end (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        if os.getppid() == 1:
            os._exit(1)


def _text(said: Any) -> str:
    return said.decode(errors="replace") if isinstance(said, bytes) else said or ""
