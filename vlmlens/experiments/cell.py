"""Cell: one batch of samples under one list of interventions, measured in one pass."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import xarray as xr

from vlmlens.errors import NonFiniteError, VLMLensError
from vlmlens.experiments.joining import along_samples
from vlmlens.experiments.keys import Keys
from vlmlens.experiments.measures import Measure
from vlmlens.experiments.reads import saves_of
from vlmlens.identity import digest
from vlmlens.interventions import Intervention
from vlmlens.model import HookedVLM, in_batches
from vlmlens.model.reading.finite import broken, watching
from vlmlens.positions import indices
from vlmlens.sample import Sample


@dataclass(frozen=True, eq=False)
class Cell:
    """One batch of samples under one list of interventions.

    Attributes:
        model: the open model.
        samples: the batch.
        interventions: in order of application; ``Where(samples=...)`` counts in this batch.
        measure: what is measured.

    Examples:
        >>> from vlmlens.experiments import Cell, Reciting
        >>> cell = Cell(model, tuple(samples), (), Reciting())
        >>> cell.run().correct.values.tolist()
        [1.0, 1.0, 1.0, 1.0]
        >>> cell.key == cell.of([0, 1, 2, 3]).key, cell.key == cell.of([0]).key
        (True, False)
    """

    model: HookedVLM
    samples: tuple[Sample, ...]
    interventions: tuple[Intervention, ...]
    measure: Measure

    @property
    def key(self) -> str:
        """What identifies the results: a hash of everything that could change them.

        Raises:
            DataError: something that only its address tells from others, or a hook that is on.

        Examples:
            >>> from vlmlens.experiments import Cell, Reciting
            >>> cell = Cell(model, tuple(samples), (), Reciting())
            >>> len(cell.key), cell.of([0]).key == cell.key
            (24, False)
        """
        keys, parts = Keys(self.model, self.measure, saves_of(self.measure)), []
        for at, sample in enumerate(self.samples):
            edits = alone(self.interventions, at, len(self.samples))
            parts += [keys.condition(edits).key.encode(), keys.of([sample], edits, at)]
        return digest(*parts)[:24]

    def run(self) -> xr.Dataset:
        """Measure; a batch that does not fit into memory is measured in halves.

        Examples:
            >>> from vlmlens.experiments import Cell, Reciting
            >>> Cell(model, tuple(samples[:2]), (), Reciting()).run().correct.values.tolist()
            [1.0, 1.0]
        """
        rows = range(len(self.samples))
        return along_samples(list(in_batches(self._measured, rows, len(rows))))

    def of(self, rows: Sequence[int]) -> "Cell":
        """The same of some of its samples.

        Examples:
            >>> from vlmlens.experiments import Cell, Reciting
            >>> cell = Cell(model, tuple(samples), (), Reciting())
            >>> cell.of([2, 3]).samples == tuple(samples[2:])
            True
        """
        edits = among(self.interventions, rows, len(self.samples))
        return replace(self, samples=tuple(self.samples[row] for row in rows), interventions=edits)

    def _measured(self, rows: Sequence[int]) -> xr.Dataset:
        some = self.of(rows)
        with watching(some.model) as seen:
            try:
                table = some.measure(some.model, some.samples, some.interventions)
            except VLMLensError as error:
                if seen.broken and not self.measure.allow_nonfinite:
                    raise some._broken() from error
                raise
        if not self.measure.allow_nonfinite and seen.broken:
            raise some._broken()
        return table

    def _broken(self) -> NonFiniteError:
        """Says of one sample which activation was the first; of several that there is one."""
        names = ", ".join(sample.id or sample.question for sample in self.samples[:3])
        names += f" and {len(self.samples) - 3} more" if len(self.samples) > 3 else ""
        if len(self.samples) > 1:
            return broken(self.model, names, None, self.interventions)
        inputs = self.model.inputs(self.samples, system=self.measure.system)
        said = "while it answers, some activation is"
        return broken(self.model, names, inputs, self.interventions, said)


def among(
    interventions: Sequence[Intervention], rows: Sequence[int], count: int
) -> tuple[Intervention, ...]:
    """Interventions for some rows of a batch: ``Where(samples=...)`` counted among these rows.

    Raises:
        EmptySelectionError: a sample that the batch does not have.
    """
    made = []
    for edit in interventions:
        wanted = edit.where.samples
        if wanted is not None:
            meant = set(indices(wanted, count, "sample"))
            here = tuple(at for at, row in enumerate(rows) if row in meant)
            if not here:
                continue
            edit = replace(edit, where=replace(edit.where, samples=here))
        made.append(edit)
    return tuple(made)


def alone(interventions: Sequence[Intervention], row: int, count: int) -> tuple[Intervention, ...]:
    """What is done to one sample of a batch, wherever it stands: the same as if it were alone."""
    if all(edit.where.samples is None for edit in interventions):
        return tuple(interventions)
    some = among(interventions, [row], count)
    return tuple(replace(edit, where=replace(edit.where, samples=None)) for edit in some)
