"""Experiment: samples x interventions x a measure, as one labelled table."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xarray as xr

import vlmlens
from vlmlens.errors import DataError
from vlmlens.experiments.executors import Local
from vlmlens.experiments.measures import Measure
from vlmlens.experiments.store import Store
from vlmlens.experiments.trace import trace
from vlmlens.identity import unit
from vlmlens.interventions import Intervention
from vlmlens.model import HookedVLM, in_batches
from vlmlens.sample import Sample


@dataclass(frozen=True, eq=False)
class Cell:
    """One batch of samples under one list of interventions.

    Attributes:
        model: the open model.
        samples: the batch.
        interventions: in order of application.
        measure: what is measured.
    """

    model: HookedVLM
    samples: tuple[Sample, ...]
    interventions: tuple[Intervention, ...]
    measure: Measure

    @property
    def key(self) -> str:
        """What identifies the result: a hash of everything that could change it."""
        parts = [
            self.model.name,
            self.model.revision,
            self.model.attention,
            str(self.model.hf_model.dtype),
            *(sample.key for sample in self.samples),
            trace(self.interventions),
            trace(self.measure),
            vlmlens.__version__,
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]

    def run(self) -> xr.Dataset:
        """Measure; a batch that does not fit into memory is measured in halves."""
        parts = list(in_batches(self._measured, self.samples, len(self.samples)))
        return parts[0] if len(parts) == 1 else along_samples(parts)

    def _measured(self, samples: Sequence[Sample]) -> xr.Dataset:
        return self.measure(self.model, tuple(samples), self.interventions)


@dataclass(frozen=True, eq=False)
class Experiment:
    """Samples x lists of interventions x a measure.

    Attributes:
        model: an open model.
        samples: what it is asked.
        measure: what is measured of every sample.
        interventions: label -> edits, applied in order; ``{"original": ()}`` edits nothing.
        dimension: what the labels' axis is called in the result.
        batch: samples a pass.
    """

    model: HookedVLM
    samples: Sequence[Sample]
    measure: Measure
    interventions: dict[str, tuple[Intervention, ...]] = field(
        default_factory=lambda: {"original": ()}
    )
    dimension: str = "intervention"
    batch: int = 32

    def cells(self) -> Iterator[tuple[str, Cell]]:
        """Every cell with its intervention's label, batch by batch: its pictures are shared."""
        if not self.samples:
            raise DataError("an experiment needs samples; the data set is empty")
        for start in range(0, len(self.samples), self.batch):
            chunk = tuple(self.samples[start : start + self.batch])
            for label, edits in self.interventions.items():
                yield label, Cell(self.model, chunk, tuple(edits), self.measure)

    def run(
        self, folder: Path | str | None = None, *, progress: Callable[[], None] = lambda: None
    ) -> xr.Dataset:
        """Run what is not done yet, and join everything.

        Interventions of one batch come one after the other, so that its pictures are prepared, and
        seen by the tower, once; see ``HookedVLM.reuse``.

        Args:
            folder: keeps every finished cell; run again, only what is missing is computed.
            progress: called once after every cell.

        Returns:
            The measure's variables over ``sample`` and ``dimension``, with the coordinates
            ``category``, ``question``, ``gold`` and ``picture`` (sample): what questions about the
            same pictures share, by which intervals and tests draw.
        """
        store = None if folder is None else Store(Path(folder))
        cells = list(self.cells())
        found: dict[str, list[xr.Dataset]] = {label: [] for label in self.interventions}
        # Decided once: another process may finish some of these while this one runs.
        keys = ["" if store is None else cell.key for _, cell in cells]
        done = [store is not None and store.has(key) for key in keys]
        missing = [cell for (_, cell), ready in zip(cells, done, strict=True) if not ready]
        fresh = Local().map(Cell.run, missing)
        with self.model.reuse():
            for (label, _), key, ready in zip(cells, keys, done, strict=True):
                if store is not None and ready:
                    result = store.read(key)
                else:
                    result = next(fresh)
                    if store is not None:
                        store.write(key, result)
                found[label].append(result)
                progress()
        names = [s.id or str(n) for n, s in enumerate(self.samples)]
        tables = [along_samples(parts).assign_coords(sample=names) for parts in found.values()]
        whole = xr.concat(
            tables,
            self.dimension,
            join="exact",
            data_vars="all",
            coords="minimal",
            compat="override",
        )
        return whole.assign_coords(
            {
                self.dimension: list(found),
                "category": ("sample", [s.category for s in self.samples]),
                "question": ("sample", [s.question for s in self.samples]),
                "gold": ("sample", [s.answer or "" for s in self.samples]),
                "picture": ("sample", [unit(s) for s in self.samples]),
                "chance": (
                    "sample",
                    [1 / len(s.choices) if s.choices else np.nan for s in self.samples],
                ),
            }
        )


def along_samples(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Batches' tables as one."""
    return xr.concat(
        parts, "sample", join="exact", data_vars="all", coords="minimal", compat="override"
    )
