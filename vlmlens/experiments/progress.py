"""Progress: what is told of long work while it goes on, and how it is shown."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeAlias

from vlmlens.checks import shown
from vlmlens.errors import InputError
from vlmlens.experiments.done import Done, Tasks
from vlmlens.experiments.failing import said
from vlmlens.experiments.work import Step

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

#: Seconds between two lines where there is no terminal.
SECONDS = 30.0


@dataclass(frozen=True)
class Event:
    """Something that became of long work; a result is one sample's, under one condition.

    Attributes:
        kind: ``"started"``, ``"done"``, ``"failed"`` or ``"finished"``.
        done: results that there are by now, those that were there before among them.
        failed: results that there will not be, of samples that cannot be measured.
        total: all results that were asked for.
        what: which part of the work.
        sample: which sample failed.
        error: what of.

    Examples:
        >>> vl.experiments.Event("done", done=30, failed=2, total=40).left
        8
    """

    kind: str
    done: int = 0
    failed: int = 0
    total: int = 0
    what: str = ""
    sample: str = ""
    error: str = ""

    @property
    def left(self) -> int:
        """Results that are still to come."""
        return self.total - self.done - self.failed


#: What is called with every event.
Tell: TypeAlias = Callable[[Event], object]
#: What ``progress=`` takes: whether to show a bar, or a function of events.
Progress: TypeAlias = bool | Tell


class Tally:
    """Counts what an experiment's steps finish, whoever computes them.

    Args:
        tell: is told.
        done: what is there by now.
        tasks: what is left to do.
    """

    def __init__(self, tell: Tell, done: Done, tasks: Tasks):
        self._tell, self._all, self._left = tell, done, tasks.counts.copy()
        self._labels = list(done.interventions)
        self._total = len(self._labels) * done.failing.count
        self._failed = len(self._labels) * len(done.failing.errors)
        self._done = self._total - self._failed - int(self._left.sum())
        self._say("started")

    def take(self, step: Step) -> None:
        """Count what was finished."""
        if step.error is not None:
            (row,) = step.rows
            labels = self._labels[self._labels.index(step.label) :]
            lost = sum(self._all.wanted(label, row) for label in labels)
            self._failed += lost
            self._left[step.batch] -= lost
            self._say("failed", self._all.failing.names[row], said(step.error))
        elif step.table is not None:
            self._done += len(step.rows)
            self._left[step.batch] -= len(step.rows)
            self._say("done")
        elif not step.label:
            self._done += int(self._left[step.batch])  # what others did meanwhile
            self._left[step.batch] = 0

    def finish(self) -> None:
        """All of it is there."""
        self._done = self._total - self._failed
        self._say("finished")

    def _say(self, kind: str, sample: str = "", error: str = "") -> None:
        self._tell(Event(kind, self._done, self._failed, self._total, "", sample, error))


@contextmanager
def telling(progress: Progress, what: str) -> Iterator[Tell]:
    """Who is told of a part of the work: a bar, lines where there is no terminal, a function.

    Raises:
        InputError: what is neither yes, no, nor a function.
    """
    if callable(progress):
        yield lambda event: progress(replace(event, what=what))
    elif not isinstance(progress, bool):
        raise InputError(f"progress={shown(progress)}: True, False, or a function of an Event")
    elif not progress:
        yield lambda event: None
    elif _live():
        with _bars() as bars:
            yield _bar(bars, what)
    else:
        yield Lines(what)


class Lines:
    """A line now and then, for logs.

    Args:
        what: which part of the work.
    """

    def __init__(self, what: str):
        self._what, self._before = what, 0
        self._began = self._said = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Say how far it is, if it is time to."""
        now = time.monotonic()
        if event.kind == "started":
            self._before = event.done + event.failed
        elif event.kind == "finished" or now - self._said >= SECONDS:
            self._said = now
            print(self._line(event, now - self._began), file=sys.stderr, flush=True)

    def _line(self, event: Event, seconds: float) -> str:
        line = f"{self._what}: {event.done:,} of {event.total:,} done, {event.failed:,} failed"
        if event.kind == "finished":
            return f"{line}, in {lasting(seconds)}"
        rate = (event.done + event.failed - self._before) / max(seconds, 1e-9)
        line += f", {event.left:,} left, {rate:.3g}/s"
        return f"{line}, about {lasting(event.left / rate)} to go" if rate else line


def lasting(seconds: float) -> str:
    """A duration as people say it."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _live() -> bool:
    """Whether there is somewhere to draw a bar."""
    from rich.console import Console

    console = Console(stderr=True, emoji=False)
    return console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)


def _bars() -> "Bars":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[told]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True, emoji=False),
    )


def _bar(bars: "Bars", what: str) -> Tell:
    task = bars.add_task(what, total=None, told="")

    def tell(event: Event) -> None:
        ended = event.done + event.failed
        if event.kind == "started":
            bars.reset(task, total=event.total, completed=ended)
        speed = bars.tasks[0].speed
        told = f"{event.done:,} done, {event.failed:,} failed, {event.left:,} left"
        told += f", {speed:.3g}/s" if speed else ""
        bars.update(task, completed=ended, told=told)

    return tell
