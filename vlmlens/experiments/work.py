"""Work: one batch under every condition that is left for it, wherever it is computed."""

import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import xarray as xr

from vlmlens.errors import InputError
from vlmlens.experiments.cell import Cell, among
from vlmlens.experiments.failing import EVERYBODYS
from vlmlens.experiments.keys import Keys
from vlmlens.experiments.measures import Measure
from vlmlens.experiments.opened import OPENED
from vlmlens.experiments.reads import saves_of
from vlmlens.interventions import Intervention
from vlmlens.model import HookedVLM
from vlmlens.sample import Sample
from vlmlens.store import canonical


@dataclass(frozen=True, eq=False)
class Task:
    """What is left to do of one batch.

    Attributes:
        batch: its number.
        samples: those of its samples that something is left of, by their numbers.
        left: numbers of samples by the condition's label.
    """

    batch: int
    samples: Mapping[int, Sample]
    left: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class Step:
    """Something that was finished: a table of some samples, one that failed, a whole condition.

    Attributes:
        batch: the batch's number.
        label: the condition's; "" where the batch ends.
        rows: numbers of samples; none where the condition ends.
        table: what was measured of them.
        error: what the sample failed of.
    """

    batch: int
    label: str = ""
    rows: tuple[int, ...] = ()
    table: xr.Dataset | None = None
    error: Exception | None = None


class Work:
    """How any task is done: a function that can be sent to other processes.

    Sent there, it opens the model by its name, once a process, and makes sure that it is the same.

    Args:
        model: an open model.
        measure: what is measured.
        interventions: of every label.
        count: how many samples the experiment has.
        limit: how many may fail.
    """

    def __init__(
        self,
        model: HookedVLM,
        measure: Measure,
        interventions: Mapping[str, tuple[Intervention, ...]],
        count: int,
        limit: int,
    ):
        self._model, self._opening, self._base = model, model.opening, ""
        self._measure, self._interventions = measure, dict(interventions)
        self._count, self._limit = count, limit
        self._turn, self._threads = threading.Lock(), 0

    def __call__(self, task: Task) -> list[Step]:
        """A task, all of it; threads of one process, which share its model, take turns."""
        with self._turn, self.model.reuse():
            return list(self.steps(task))

    @property
    def model(self) -> HookedVLM:
        """The open model; in another process it is opened there."""
        if self._model is None:
            self._model = OPENED.get(self._opening, self._threads, self._base, self._identity)
        return self._model

    def _identity(self, model: HookedVLM) -> str:
        return Keys(model, self._measure, saves_of(self._measure)).base

    def steps(self, task: Task) -> Iterator[Step]:
        """A task, step by step."""
        failed: set[int] = set()
        for label, every in task.left.items():
            rows = [row for row in every if row not in failed]
            samples = tuple(task.samples[row] for row in rows)
            edits = among(self._interventions[label], rows, self._count)
            cell = Cell(self.model, samples, edits, self._measure)
            for own, found in self._measured(cell, rows) if rows else ():
                if isinstance(found, Exception):
                    failed.update(own)
                    yield Step(task.batch, label, own, error=found)
                else:
                    yield Step(task.batch, label, own, found)
                if len(failed) > self._limit:
                    return
            yield Step(task.batch, label)
        yield Step(task.batch)

    def _measured(
        self, cell: Cell, rows: Sequence[int]
    ) -> Iterator[tuple[tuple[int, ...], xr.Dataset | Exception]]:
        """What a pass makes of these samples; of one after the other, where one of them fails."""
        try:
            table = cell.run()
        except EVERYBODYS:
            raise
        except Exception as error:  # whatever a picture, a processor or a measure stumbles over
            traceback.clear_frames(error.__traceback__)  # they hold what the pass had made
            if len(rows) == 1:
                yield tuple(rows), error
                return
        else:
            yield tuple(rows), canonical(sized(table, rows))
            return
        for at, row in enumerate(rows):
            yield from self._measured(cell.of([at]), [row])

    def __getstate__(self) -> dict[str, Any]:
        if not self._opening:
            raise InputError(
                f"{self._model.name} was made in memory, and other processes open models by name: "
                "save it, and open it with HookedVLM.from_pretrained(folder)"
            )
        if self._model is not None and not self._base:  # once: pools send it with every task
            self._base = self._identity(self._model)
        name, options = self._opening
        opening = (str(Path(name).absolute()) if Path(name).is_dir() else name, options)
        sent = {"_model": None, "_turn": None, "_opening": opening}
        return vars(self) | sent | {"_threads": self._threads or torch.get_num_threads()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state | {"_turn": threading.Lock()})


def sized(table: xr.Dataset, rows: Sequence[int]) -> xr.Dataset:
    """The table, of as many samples as there are.

    Raises:
        InputError: a measure that made none of every sample.
    """
    count = table.sizes.get("sample")
    if count != len(rows):
        raise InputError(
            f"the measure was given {len(rows)} samples, and its table has "
            f"{'no dimension sample' if count is None else count}: it needs one entry each"
        )
    return table
