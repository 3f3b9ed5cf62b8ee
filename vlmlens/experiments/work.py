"""Work: one batch under every condition that is left for it, wherever it is computed."""

import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import xarray as xr

from vlmlens.errors import InputError
from vlmlens.experiments.cell import Cell, among
from vlmlens.experiments.failing import EVERYBODYS
from vlmlens.experiments.measures import Measure
from vlmlens.experiments.reads import saves_of
from vlmlens.experiments.sent import Sent
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


class Work(Sent[Task, Step]):
    """Batches of an experiment.

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
        super().__init__(model)
        self._measure, self._interventions = measure, dict(interventions)
        self._count, self._limit = count, limit

    @property
    def how(self) -> tuple[Any, ...]:
        """The measure, and what it reads."""
        return self._measure, saves_of(self._measure)

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
