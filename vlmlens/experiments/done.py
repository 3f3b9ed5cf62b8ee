"""What is done of an experiment, and what is left."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import xarray as xr

from vlmlens.experiments.failing import Failing
from vlmlens.experiments.work import Step, Task
from vlmlens.interventions import Intervention
from vlmlens.sample import Sample

#: The numbers of some samples, and the table of what was measured of them.
Part: TypeAlias = tuple[list[int], xr.Dataset]


class Tasks:
    """What is left to do, batch by batch; a task is made when it comes to it.

    Attributes:
        counts: results that are left of every batch.
    """

    def __init__(self, make: Callable[[int], Task], counts: Sequence[int]):
        self._make, self.counts = make, np.array(counts, np.int32)

    def __iter__(self) -> Iterator[Task]:
        return (self._make(int(at)) for at in np.flatnonzero(self.counts))

    def __bool__(self) -> bool:
        return bool(self.counts.any())


class Done:
    """Results as they come, in memory.

    Args:
        samples: all of the experiment's.
        interventions: by label.
        failing: is told of samples that cannot be measured.

    Attributes:
        accepted: versions that results are of, where they are not these.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        interventions: Mapping[str, tuple[Intervention, ...]],
        failing: Failing,
    ):
        self.samples, self.interventions, self.failing = samples, interventions, failing
        self.accepted: set[str] = set()
        self._found: dict[str, list[Part]] = {label: [] for label in interventions}

    def tasks(self, batches: Sequence[Sequence[int]]) -> Tasks:
        """What is left to do of every batch."""
        counts = [sum(map(len, self._left(batch).values())) for batch in batches]
        return Tasks(lambda at: self._task(at, batches[at], self._left(batches[at])), counts)

    def wanted(self, label: str, row: int) -> bool:
        """Whether this sample's result was to be computed, when this began."""
        return True

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

    def parts(self, rows: Sequence[int] | None = None) -> dict[str, list[Part]]:
        """Results by label, all of them or some samples'."""
        assert rows is None, "what is in memory is handed over as a whole"
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
