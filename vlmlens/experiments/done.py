"""What is done of an experiment, and what is left."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import xarray as xr

from vlmlens.errors import DataError
from vlmlens.experiments.cell import alone
from vlmlens.experiments.failing import Failing, said
from vlmlens.experiments.given import as_folder
from vlmlens.experiments.keys import Keys
from vlmlens.experiments.measures import Measure
from vlmlens.experiments.reads import saves_of
from vlmlens.experiments.work import Step, Task
from vlmlens.identity import digest
from vlmlens.interventions import Intervention
from vlmlens.model import HookedVLM
from vlmlens.positions import indices
from vlmlens.sample import Sample
from vlmlens.store import Claims, Condition, Shard, Store

#: The numbers of some samples, and the table of what was measured of them.
Part: TypeAlias = tuple[list[int], xr.Dataset]
#: Seconds between two looks at work that another process is doing.
PATIENCE = 0.2


class Done:
    """Results as they come, in memory.

    Args:
        samples: all of the experiment's.
        interventions: by label.
        failing: is told of samples that cannot be measured.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        interventions: Mapping[str, tuple[Intervention, ...]],
        failing: Failing,
    ):
        self.samples, self.interventions, self.failing = samples, interventions, failing
        self._found: dict[str, list[Part]] = {label: [] for label in interventions}

    def tasks(self, batches: Sequence[Sequence[int]]) -> list[Task]:
        """What is left to do of every batch."""
        tasks = [self._task(at, batch, self._left(batch)) for at, batch in enumerate(batches)]
        return [task for task in tasks if task.left]

    def claimed(self, tasks: Iterable[Task]) -> Iterator[Task]:
        """The tasks that are this process's to do, when it comes to do them."""
        return iter(tasks)

    def take(self, step: Step) -> None:
        """Keep what was finished.

        Raises:
            VLMLensError: more samples failed than may.
        """
        if step.error is not None:
            self.failing.add(step.rows[0], step.error)
        elif step.table is not None:
            self.failing.worked = True
            self._keep(step.label, step.rows, step.table)

    def parts(self) -> dict[str, list[Part]]:
        """All results, by label."""
        return self._found

    def close(self) -> None:
        """Nothing more comes."""

    def _left(self, batch: Sequence[int]) -> dict[str, tuple[int, ...]]:
        rows = tuple(row for row in batch if row not in self.failing.errors)
        return dict.fromkeys(self.interventions, rows) if rows else {}

    def _task(self, at: int, batch: Sequence[int], left: Mapping[str, tuple[int, ...]]) -> Task:
        some = {row for rows in left.values() for row in rows}
        return Task(at, {row: self.samples[row] for row in batch if row in some}, left)

    def _keep(self, label: str, rows: Sequence[int], table: xr.Dataset) -> None:
        self._found[label].append((list(rows), table))


class Kept(Done):
    """Results as they come, in a folder: what is there is read, and the rest is computed.

    Args:
        model: an open model.
        measure: what is measured.
        folder: where results are kept.
        samples: all of the experiment's.
        interventions: by label.
        failing: is told of samples that cannot be measured.
        batches: the numbers of the samples that are measured here, batch by batch.

    Raises:
        DataError: a folder that cannot be; something that only its address tells from others.
    """

    def __init__(
        self,
        model: HookedVLM,
        measure: Measure,
        folder: Path | str,
        samples: Sequence[Sample],
        interventions: Mapping[str, tuple[Intervention, ...]],
        failing: Failing,
        batches: Sequence[Sequence[int]],
    ):
        super().__init__(samples, interventions, failing)
        self._store = Store(as_folder(folder))
        self._keys = Keys(model, measure, saves_of(measure))
        self._barred = self._store.open()
        self._batches = batches
        self._places = {row: at for batch in batches for at, row in enumerate(batch)}
        self._meant = {
            label: [_meant(edit, len(samples)) for edit in edits]
            for label, edits in interventions.items()
        }
        self._alone: dict[tuple[str, tuple[bool, ...]], tuple[Intervention, ...]] = {}
        self._look()
        self._wanted = {label: self._asked(label) for label in interventions}
        self._left_of = self._missing()
        self._claims = Claims(self._store.folder)
        self._ended: list[int] = []
        self._later: list[Shard] = []

    def tasks(self, batches: Sequence[Sequence[int]]) -> list[Task]:
        """What is left to do of every batch.

        Raises:
            DataError: something is, and nothing can be written into the folder.
        """
        tasks = super().tasks(batches)
        if tasks and self._barred:
            raise DataError(f"{self._barred}, and results are missing there; name another folder")
        return tasks

    def claimed(self, tasks: Iterable[Task]) -> Iterator[Task]:
        """The tasks that no other process is doing, when it comes to do them."""
        waiting, idle = deque(tasks), 0
        while waiting:
            task = waiting.popleft()
            if not self._claims.take(self._claim(task.batch)):
                waiting.append(task)
                idle += 1
                if idle >= len(waiting):  # nothing is left that nobody does
                    self._write()  # and somebody may be waiting for what is done here
                    time.sleep(PATIENCE)
                    idle = 0
                continue
            idle = 0
            self._later += self._store.refresh()
            if task := self._still(task):
                yield task

    def take(self, step: Step) -> None:
        """Keep what was finished, and write it when it is time.

        Raises:
            DataError: the disk is full, or the folder can no longer be written into.
            VLMLensError: more samples failed than may.
        """
        if step.error is not None:
            condition = self._condition(step.label, step.rows[0])
            key, name = self._key(step.label, step.rows[0]), self.failing.names[step.rows[0]]
            self._store.add_failed(condition, key, name, said(step.error))
        super().take(step)
        if not step.label:
            self._ended.append(step.batch)
        if self._store.due:
            self._write()

    def parts(self) -> dict[str, list[Part]]:
        """All results, by label, as they are read back."""
        self._write()
        self._store.refresh()
        found: dict[str, list[Part]] = {label: [] for label in self.interventions}
        groups = {
            (label, key): (rows, (key, [self._key(label, row) for row in rows]))
            for label, by_condition in self._wanted.items()
            for key, rows in by_condition.items()
        }
        read = self._store.read({name: asked for name, (_, asked) in groups.items()})
        for (label, key), parts in read.items():
            rows = groups[label, key][0]
            found[label] += [([rows[at] for at in places], table) for places, table in parts]
        for label, parts in found.items():
            parts.sort(key=lambda part: part[0][0])
            there = {row for rows, _ in parts for row in rows}
            if lost := set(self._places) - there - set(self.failing.errors):
                raise DataError(
                    f"{len(lost)} finished results of {label!r} are gone from "
                    f"{self._store.folder}: run again, and they are computed anew"
                )
        return found

    def close(self) -> None:
        """Write what is not written yet, and let others have what is left."""
        try:
            self._write()
        finally:
            self._claims.close()

    def _look(self) -> None:
        """Look at every picture before anything is computed."""
        for row in self._places:
            try:
                self._keys.sample(self.samples[row])
            except Exception as error:  # whatever opening or drawing a picture stumbles over
                self.failing.add(row, error)
        self._unread = set(self.failing.errors)

    def _asked(self, label: str) -> dict[str, list[int]]:
        """The samples under a label by their condition: an edit may be of some samples only."""
        found: dict[str, list[int]] = {}
        for row in self._places:
            if row not in self.failing.errors:
                found.setdefault(self._condition(label, row).key, []).append(row)
        return found

    def _missing(self) -> dict[str, set[int]]:
        missing: dict[str, set[int]] = {}
        for label, by_condition in self._wanted.items():
            missing[label] = set()
            for condition, rows in by_condition.items():
                done = self._store.has(condition, [self._key(label, row) for row in rows])
                missing[label] |= {rows[at] for at in np.flatnonzero(~done)}
                self.failing.worked = self.failing.worked or bool(done.any())
        return missing

    def _left(self, batch: Sequence[int]) -> dict[str, tuple[int, ...]]:
        left = super()._left(batch)
        left = {k: tuple(r for r in rows if r in self._left_of[k]) for k, rows in left.items()}
        return {label: rows for label, rows in left.items() if rows}

    def _still(self, task: Task) -> Task | None:
        """What is left of a task, now that others may have done some of it."""
        if not self._later:
            return task
        left: dict[str, tuple[int, ...]] = {}
        for label, rows in task.left.items():
            rows = [row for row in rows if row not in self.failing.errors]
            done = np.zeros(len(rows), dtype=bool)
            for at, row in enumerate(rows):
                condition = self._condition(label, row).key
                done[at] = self._store.has(condition, [self._key(label, row)], self._later)[0]
            left[label] = tuple(row for row, there in zip(rows, done, strict=True) if not there)
        left = {label: rows for label, rows in left.items() if rows}
        return self._task(task.batch, list(task.samples), left) if left else None

    def _keep(self, label: str, rows: Sequence[int], table: xr.Dataset) -> None:
        by_condition: dict[str, list[int]] = {}
        for at, row in enumerate(rows):
            by_condition.setdefault(self._condition(label, row).key, []).append(at)
        for places in by_condition.values():
            own = [rows[at] for at in places]
            some = table if len(own) == len(rows) else table.isel(sample=places)
            self._store.add(
                self._condition(label, own[0]),
                [self._key(label, row) for row in own],
                [self.failing.names[row] for row in own],
                some,
            )

    def _write(self) -> None:
        self._store.flush()
        self._claims.give_back(map(self._claim, self._ended))
        self._ended.clear()

    def _edits(self, label: str, row: int) -> tuple[Intervention, ...]:
        """What is done to a sample, as if it were alone."""
        meant = self._meant[label]
        if all(some is None for some in meant):
            return self.interventions[label]
        applied = label, tuple(some is None or row in some for some in meant)
        if applied not in self._alone:
            self._alone[applied] = alone(self.interventions[label], row, len(self.samples))
        return self._alone[applied]

    def _condition(self, label: str, row: int) -> Condition:
        return self._keys.condition(self._edits(label, row), label)

    def _key(self, label: str, row: int) -> bytes:
        return self._keys.of([self.samples[row]], self._edits(label, row), self._places[row])

    def _claim(self, batch: int) -> str:
        """What runs of one experiment call a batch alike."""
        rows = [row for row in self._batches[batch] if row not in self._unread]
        known = [self._keys.sample(self.samples[row]).encode() for row in rows]
        return digest(self._keys.base.encode(), *known)


def _meant(edit: Intervention, count: int) -> set[int] | None:
    """The numbers of the samples that an edit is of; None for all of them."""
    some = edit.where.samples
    return None if some is None else set(indices(some, count, "sample"))
