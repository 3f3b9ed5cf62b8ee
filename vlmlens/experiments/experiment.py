"""Experiment: samples x interventions x a measure, as one labelled table."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from vlmlens.annotations import Checked
from vlmlens.checks import allowed, name, shown, texts, whole
from vlmlens.errors import DataError, InputError
from vlmlens.experiments.cell import Cell, among
from vlmlens.experiments.done import Done, Part
from vlmlens.experiments.executors import Executor, Local, as_executor
from vlmlens.experiments.failing import Failing
from vlmlens.experiments.given import as_batch, as_labelled, as_measure, as_model, as_samples
from vlmlens.experiments.joining import along_samples
from vlmlens.experiments.kept import Kept
from vlmlens.experiments.keys import Keys
from vlmlens.experiments.measures import Measure
from vlmlens.experiments.naming import TAKEN, forms, named, taken
from vlmlens.experiments.progress import Tally, Tell
from vlmlens.experiments.reads import saves_of
from vlmlens.experiments.work import Work
from vlmlens.identity import unit
from vlmlens.interventions import Intervention
from vlmlens.model import HookedVLM
from vlmlens.sample import Sample, with_answers_known
from vlmlens.store import tight

MAX_FAILED = 0.05


@dataclass(frozen=True, eq=False)
class Experiment(Checked):
    """Samples x lists of interventions x a measure.

    Attributes:
        model: an open model.
        samples: what it is asked. ``Where(samples=...)`` of an intervention counts among these,
            whatever the batch.
        measure: what is measured of every sample.
        interventions: label -> edits, applied in order; ``{"original": ()}`` edits nothing.
        dimension: what the labels' axis is called in the result.
        batch: samples a pass.
        max_failed: how many samples may fail before the run stops: a share below 1 (and at least
            one sample), or a number of samples.
        names: what results call the samples; by default their ids, and the number of one without.

    Raises:
        InputError: a batch, interventions or a dimension that cannot be.
        DataError: no samples.

    Examples:
        >>> from vlmlens.experiments import Experiment, Reciting
        >>> from vlmlens.interventions import PermuteVision
        >>> edits = {"intact": (), "shuffled": (PermuteVision(seed=0),)}
        >>> table = Experiment(model, samples, Reciting(), edits).run("results")
        >>> dict(table.correct.sizes), table.correct.mean("sample").values.tolist()
        ({'intervention': 2, 'sample': 4}, [1.0, 0.5])
    """

    model: HookedVLM
    samples: Sequence[Sample]
    measure: Measure
    interventions: dict[str, tuple[Intervention, ...]] = field(
        default_factory=lambda: {"original": ()}
    )
    dimension: str = "intervention"
    batch: int = 32
    max_failed: int | float = MAX_FAILED
    names: Sequence[str] = ()

    def __post_init__(self):
        given: dict[str, Any] = {
            "model": as_model(self.model),
            "samples": as_samples(self.samples),
            "measure": as_measure(self.measure),
            "interventions": as_labelled(self.interventions),
            "batch": as_batch(self.batch),
        }
        if not getattr(self.measure, "own", False):  # what the model itself said may be empty
            given["samples"] = tuple(with_answers_known(given["samples"]))
        given["names"] = texts(self.names, "names", name) or named(given["samples"])
        for part, value in given.items():
            object.__setattr__(self, part, value)
        if len(self.names) != len(self.samples):
            raise InputError(f"{len(self.samples)} samples and {len(self.names)} names: one each")
        if not isinstance(self.dimension, str) or self.dimension in (*TAKEN, ""):
            raise taken(self.dimension)
        allowed(self.max_failed, len(self.samples))

    def cells(self) -> Iterator[tuple[str, Cell]]:
        """Every cell with its intervention's label, batch by batch: its pictures are shared.

        Examples:
            >>> from vlmlens.experiments import Experiment, Reciting
            >>> experiment = Experiment(model, samples, Reciting(), batch=2)
            >>> [(label, len(cell.samples)) for label, cell in experiment.cells()]
            [('original', 2), ('original', 2)]
        """
        for rows in Local().batches(len(self.samples), self.batch):
            for label in self.interventions:
                yield label, self._cell(label, rows)

    def run(
        self,
        folder: Path | str | None = None,
        *,
        executor: Executor = None,
        progress: Tell | None = None,
    ) -> xr.Dataset:
        """Run what is not done yet, and join everything.

        Interventions of one batch come one after the other, so that its pictures are prepared, and
        seen by the tower, once; see ``HookedVLM.reuse``. A sample that cannot be measured is left
        out, said, and tried again by the next run; the others of its batch go on without it.

        Args:
            folder: keeps every sample's results; run again, with another batch size or with more
                samples, only what is missing is computed. Several processes may share it.
            executor: who computes: ``Local()``, by default; ``Shard(i, n)``, a share of the
                samples, whose table this then is; or anything that has ``map``, such as
                ``concurrent.futures.ProcessPoolExecutor``. All of them make the same table.
            progress: called with an ``Event`` at the start, after everything that is finished,
                whoever computed it, and at the end.

        Returns:
            The measure's variables over ``sample`` and ``dimension``, with the coordinates
            ``category``, ``question``, ``gold`` and ``picture`` (sample): what questions about the
            same pictures share, by which intervals and tests draw. Where samples failed, the
            attribute ``failures`` lists them, as JSON: ``id`` and ``error``. Where the samples are
            a published set's, the attribute ``prompt_form`` names the way they are asked.

        Raises:
            DataError: more than ``max_failed`` samples failed; a folder that cannot be written
                into (before anything is computed); something in the experiment that only its
                address tells from others, or a hook that is on, where there is a folder.
            VLMLensError: what the experiment's own mistakes raise.

        Examples:
            >>> from vlmlens.experiments import Experiment, Reciting
            >>> experiment = Experiment(model, samples, Reciting(), batch=2)
            >>> table = experiment.run("results", progress=lambda e: print(e.kind, e.done, e.left))
            started 0 4
            done 2 2
            done 4 0
            finished 4 0
            >>> table.sample.values.tolist() == [each.id for each in samples]
            True
        """
        with self._finished(folder, executor, progress) as (done, failing, batches):
            table = self._joined(done.parts(), failing, batches)
            others = "; ".join(sorted(done.accepted))
            return table.assign_attrs({"accepted_versions": others} if others else {})

    def fill(
        self, folder: Path | str, *, executor: Executor = None, progress: Tell | None = None
    ) -> None:
        """Run what is not done yet, and keep it in a folder; ``parts`` reads it.

        As ``run``, for tables that are larger than memory.

        Examples:
            >>> from vlmlens.experiments import Experiment, Reciting
            >>> experiment = Experiment(model, samples, Reciting(), batch=2)
            >>> experiment.fill("results")
            >>> [part.correct.mean().item() for part in experiment.parts("results", count=2)]
            [1.0, 1.0]
        """
        with self._finished(folder, executor, progress):
            pass

    def parts(self, folder: Path | str, *, count: int = 1024) -> Iterator[xr.Dataset]:
        """The table of a folder that is filled, some samples after others.

        Args:
            folder: that ``fill`` or ``run`` kept results in.
            count: how many samples a part has at most.

        Yields:
            What ``run`` returns, of so many samples.

        Raises:
            DataError: something is left to do, of samples that can be measured.

        Examples:
            >>> from vlmlens.experiments import Experiment, Reciting
            >>> experiment = Experiment(model, samples, Reciting(), batch=2)
            >>> experiment.fill("results")
            >>> [len(part.sample) for part in experiment.parts("results", count=3)]
            [3, 1]
        """
        whole(count, "count", least=1)
        rows = range(len(self.samples))
        failing = Failing(self.names, len(rows))
        batches = Local().batches(len(rows), self.batch)
        done = self._done(folder, failing, batches)
        try:
            if left := sum(len(task.samples) for task in done.tasks(batches)):
                raise DataError(f"{left} samples of {folder} are not done: fill it first")
            for start in rows[::count]:
                some = [row for row in rows[start : start + count] if row not in failing.errors]
                if some:
                    yield self._joined(done.parts(some), failing, [some])
        finally:
            done.close()

    @contextmanager
    def _finished(
        self, folder: Path | str | None, executor: Executor, progress: Tell | None
    ) -> Iterator[tuple[Done, Failing, Sequence[Sequence[int]]]]:
        """Everything is computed, and not read yet."""
        if not (progress is None or callable(progress)):
            raise InputError(f"progress={shown(progress)}: a function of an Event, or none")
        engine = as_executor(executor)
        batches = engine.batches(len(self.samples), self.batch)
        failing = Failing(self.names, self.max_failed, sum(map(len, batches)))
        done = self._done(folder, failing, batches)
        work = Work(self.model, self.measure, self.interventions, len(self.samples), failing.limit)
        try:
            tasks = done.tasks(batches)
            tally = Tally(progress or (lambda event: None), done, tasks)
            with self.model.reuse():
                for step in engine.steps(work, done.claimed(tasks)):
                    done.take(step)
                    tally.take(step)
            failing.tell()
            tally.finish()
            yield done, failing, batches
        finally:
            done.close()

    def _done(
        self, folder: Path | str | None, failing: Failing, batches: Sequence[Sequence[int]]
    ) -> Done:
        about = (self.samples, self.interventions, failing)
        if folder is None:
            return Done(*about)
        keys = Keys(self.model, self.measure, saves_of(self.measure))
        return Kept(keys, folder, *about, batches)

    def _cell(self, label: str, rows: Sequence[int]) -> Cell:
        edits = among(self.interventions[label], rows, len(self.samples))
        return Cell(self.model, tuple(self.samples[row] for row in rows), edits, self.measure)

    def _joined(
        self,
        found: Mapping[str, Sequence[Part]],
        failing: Failing,
        batches: Sequence[Sequence[int]],
    ) -> xr.Dataset:
        kept = [row for batch in batches for row in batch if row not in failing.errors]
        tables: list[xr.Dataset] = []
        for parts in found.values():
            measured = [row for rows, _ in parts for row in rows]
            table = along_samples([part for _, part in parts])
            if self.dimension in table.variables or self.dimension in table.dims:
                raise taken(self.dimension)
            if measured != kept:  # one that failed under a later intervention, or in other order
                at = {row: place for place, row in enumerate(measured)}
                table = table.isel(sample=[at[row] for row in kept])
            tables.append(table.assign_coords(sample=[self.names[row] for row in kept]))
        joined = xr.concat(
            tables,
            self.dimension,
            join="exact",
            data_vars="all",
            coords="minimal",
            compat="override",
        )
        samples = [self.samples[row] for row in kept]
        return (
            tight(joined)
            .assign_coords(
                {
                    self.dimension: list(found),
                    "category": ("sample", [s.category for s in samples]),
                    "question": ("sample", [s.question for s in samples]),
                    "gold": ("sample", [s.answer or "" for s in samples]),
                    "picture": ("sample", [unit(s) for s in samples]),
                    "chance": (
                        "sample",
                        [1 / len(s.choices) if s.choices else np.nan for s in samples],
                    ),
                }
            )
            .assign_attrs(failing.attrs() | forms(samples))
        )
