"""Results in a folder: what is there is read, and the rest is computed and kept."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xarray as xr
from jaxtyping import Bool

from vlmlens.errors import DataError
from vlmlens.experiments.done import Done, Part, Tasks
from vlmlens.experiments.failing import Failing, said
from vlmlens.experiments.given import as_folder
from vlmlens.experiments.identified import Identified
from vlmlens.experiments.keys import Keys
from vlmlens.experiments.turns import in_turn
from vlmlens.experiments.work import Step, Task
from vlmlens.identity import keep, recall
from vlmlens.interventions import Intervention
from vlmlens.sample import Sample
from vlmlens.store import Claims, Running, Shard, Store, accepts, like, note
from vlmlens.store.late import settle

LOG = logging.getLogger(__name__)


class Kept(Done):
    """Results as they come, in a folder.

    Args:
        keys: of the model and the measure.
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
        keys: Keys,
        folder: Path | str,
        samples: Sequence[Sample],
        interventions: Mapping[str, tuple[Intervention, ...]],
        failing: Failing,
        batches: Sequence[Sequence[int]],
    ):
        super().__init__(samples, interventions, failing)
        self._store = Store(as_folder(folder))
        self._barred = self._store.open()
        self._known = Identified(keys, samples, interventions, batches)
        self._look()
        self._unread = dict(failing.errors)
        known = self._known.rows
        rows = known[~np.isin(known, list(self._unread))] if self._unread else known
        self._wanted = {label: self._known.by_condition(label, rows) for label in interventions}
        if accepts(self._store.folder):
            self._accept()
        self._left_of = self._missing()
        self._claims = Claims(self._store.folder)
        self._running = None
        self._ended: list[int] = []
        self._later: list[Shard] = []

    def wanted(self, label: str, row: int) -> bool:
        """Whether this sample's result was not there, when this began."""
        return bool(self._left_of[label][row])

    def tasks(self, batches: Sequence[Sequence[int]]) -> Tasks:
        """What is left to do of every batch.

        Raises:
            DataError: something is, and nothing can be written into the folder.
        """
        tasks = super().tasks(batches)
        if tasks and self._barred:
            raise DataError(f"{self._barred}, and results are missing there; name another folder")
        if not self._barred:
            self._note()
            self._running = Running(self._store.folder)
        return tasks

    def claimed(self, tasks: Iterable[Task]) -> Iterator[Task]:
        """The tasks that no other process is doing, when it comes to do them."""
        for task in in_turn(tasks, self._claim, self._write):
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
            (row,) = step.rows
            condition, key = (
                self._known.condition(step.label, row),
                self._known.key(step.label, row),
            )
            self._store.add_failed(condition, key, self.failing.names[row], said(step.error))
        super().take(step)
        if not step.label:
            self._ended.append(step.batch)
        if self._store.due:
            self._write()

    def parts(self, rows: Sequence[int] | None = None) -> dict[str, list[Part]]:
        """Results by label, as they are read back: all of them, or some samples'.

        Raises:
            DataError: somebody took results away meanwhile.
        """
        self._write()
        wanted = self._wanted
        if rows is not None:
            wanted = {label: self._known.by_condition(label, rows) for label in wanted}
        asked = {
            (label, condition): (condition, self._known.keys(label, some))
            for label, by_condition in wanted.items()
            for condition, some in by_condition.items()
        }
        settle(self._store, self._there(wanted))
        found: dict[str, list[Part]] = {label: [] for label in self.interventions}
        for (label, condition), parts in self._store.read(asked).items():
            some = wanted[label][condition]
            found[label] += [([int(some[at]) for at in places], table) for places, table in parts]
        for label, parts in found.items():
            parts.sort(key=lambda part: part[0][0])
            there = {row for own, _ in parts for row in own}
            meant = self._known.rows.tolist() if rows is None else rows
            if lost := set(meant) - there - set(self.failing.errors):
                raise DataError(
                    f"{len(lost)} finished results of {label!r} are gone from "
                    f"{self._store.folder}: run again, and they are computed anew"
                )
        return found

    def _there(self, wanted: Mapping[str, Mapping[str, Any]]) -> dict[str, pa.Array]:
        """By condition, the keys of samples that did not fail."""
        lost = list(self.failing.errors)
        return {
            condition: self._known.keys(
                label, [int(r) for r in rows if r not in lost] if lost else rows
            )
            for label, by_condition in wanted.items()
            for condition, rows in by_condition.items()
        }

    def close(self) -> None:
        """Write what is not written yet, and let others have what is left."""
        try:
            self._write()
        finally:
            self._claims.close()
            if self._running is not None:
                self._running.close()

    def _look(self) -> None:
        """Look at every picture, before anything is computed."""
        rows = self._known.rows
        files = [p for row in rows for p in self.samples[row].images if isinstance(p, str | Path)]
        recall(files)
        for row in map(int, rows):
            try:
                self._known.look(row)
            except Exception as error:  # whatever opening or drawing a picture stumbles over
                self.failing.add(row, error)
        keep(files)

    def _note(self) -> None:
        """Write down what is asked for."""
        told = {
            condition: (
                self._known.condition(label, int(rows[0])).told,
                self._known.keys(label, rows),
            )
            for label, by_condition in self._wanted.items()
            for condition, rows in by_condition.items()
        }
        note(self._store.folder, told, [self.failing.names[row] for row in self._unread])

    def _accept(self) -> None:
        """Take results of other patch versions for those of these, and say so."""
        for label, by_condition in self._wanted.items():
            for rows in by_condition.values():
                wanted = self._known.condition(label, int(rows[0]))
                others = like(wanted.told, wanted.key, self._store.shards.values())
                self._store.also(wanted.key, others)
                self.accepted.update(others.values())
        if self.accepted:
            LOG.warning(
                "%s holds results of %s, which count as ones of these versions "
                "(--accept-versions patch)",
                *(self._store.folder, "; ".join(sorted(self.accepted))),
            )

    def _missing(self) -> dict[str, Bool[np.ndarray, " sample"]]:
        """Of every label, which samples' results are not there."""
        missing: dict[str, Bool[np.ndarray, " sample"]] = {}
        for label, by_condition in self._wanted.items():
            missing[label] = np.zeros(len(self.samples), bool)
            for condition, rows in by_condition.items():
                done = self._store.has(condition, self._known.keys(label, rows))
                missing[label][np.asarray(rows)] = ~done
                self.failing.worked = self.failing.worked or bool(done.any())
        return missing

    def _left(self, batch: Sequence[int]) -> dict[str, tuple[int, ...]]:
        left = super()._left(batch)
        left = {k: tuple(r for r in rows if self._left_of[k][r]) for k, rows in left.items()}
        return {label: rows for label, rows in left.items() if rows}

    def _still(self, task: Task) -> Task | None:
        """What is left of a task, now that others may have done some of it."""
        if not self._later:
            return task
        left = {
            label: tuple(row for row in rows if not self._done_later(label, row))
            for label, rows in task.left.items()
        }
        left = {label: rows for label, rows in left.items() if rows}
        return self._task(task.batch, list(task.samples), left) if left else None

    def _done_later(self, label: str, row: int) -> bool:
        condition = self._known.condition(label, row).key
        return bool(self._store.has(condition, [self._known.key(label, row)], self._later)[0])

    def _keep(self, label: str, rows: Sequence[int], table: xr.Dataset) -> None:
        at = {row: place for place, row in enumerate(rows)}
        for own in self._known.by_condition(label, rows).values():
            self._store.add(
                self._known.condition(label, own[0]),
                [self._known.key(label, row) for row in own],
                [self.failing.names[row] for row in own],
                table if len(own) == len(rows) else table.isel(sample=[at[row] for row in own]),
            )

    def _claim(self, task: Task) -> bool:
        return self._claims.take(self._known.claim(task.batch, self._unread))

    def _write(self) -> None:
        self._store.flush()
        self._claims.give_back(self._known.claim(batch, self._unread) for batch in self._ended)
        self._ended.clear()
