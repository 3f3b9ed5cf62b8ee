"""What a trial finds: laws that hold or not, and what things cost."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Law:
    """One thing that should hold on the device.

    Attributes:
        name: of it.
        subject: the model, kernel or edit that it was tried on.
        holds: whether it does; None where it could not be tried here.
        found: by how much, or why not.
    """

    name: str
    subject: str
    holds: bool | None
    found: str


@dataclass(frozen=True)
class Cost:
    """What one job costs, in plain forward passes of the same prompt.

    Attributes:
        name: of the job.
        passes: median over rounds of its time by that of a plain forward pass.
        low: the lower quartile.
        high: the upper quartile.
        seconds: median of its time.
        naive: passes that a loop of plain passes takes for the same, or None.
        peak: MiB that it holds beyond weights and inputs, or None on a CPU.
        busy: seconds for which the device itself works; the rest is Python on the processor.
    """

    name: str
    passes: float
    low: float
    high: float
    seconds: float
    naive: int | None
    peak: float | None
    busy: float | None


def tried(name: str, subject: str, law: Callable[[], tuple[bool | None, str]]) -> Law:
    """A law, tried; an error of any kind means that it does not hold, and is what was found."""
    try:
        holds, found = law()
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        said = str(error).strip().splitlines() or [""]
        return Law(name, subject, False, f"{type(error).__name__}: {said[0]} ({at.name})")
    return Law(name, subject, holds, found)
