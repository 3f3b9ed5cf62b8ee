"""What is done of an experiment, and the doing of what is left."""

import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import xarray as xr

from vlmlens.errors import DataError, InputError
from vlmlens.experiments.cell import Cell
from vlmlens.experiments.failing import EVERYBODYS, Failing
from vlmlens.experiments.given import as_folder
from vlmlens.experiments.keys import Keys
from vlmlens.experiments.measures import Measure
from vlmlens.experiments.reads import saves_of
from vlmlens.experiments.store import Store
from vlmlens.model import HookedVLM
from vlmlens.sample import Sample

#: The numbers of some samples, and the table of what was measured of them.
Part: TypeAlias = tuple[list[int], xr.Dataset]


class Done:
    """Results of one model and measure: read where they are kept, else computed and kept.

    A batch that goes through as a whole is kept as one cell. Where a sample of it fails, the others
    are kept one by one, so that the next run needs to compute none but that one.

    Args:
        model: an open model.
        measure: what is measured.
        folder: where results are kept; None keeps none.

    Raises:
        DataError: a folder that cannot be; something that only its address tells from others.
    """

    def __init__(self, model: HookedVLM, measure: Measure, folder: Path | str | None):
        self._store = None if folder is None else Store(as_folder(folder))
        self._keys = Keys(model, measure, saves_of(measure)) if self._store else None
        self._barred = self._store.open() if self._store else ""

    def look(self, samples: Sequence[Sample], failing: Failing) -> None:
        """Look at every picture before anything is computed, where results are kept."""
        if self._keys is None:
            return
        for number, sample in enumerate(samples):
            try:
                self._keys.sample(sample)
            except Exception as error:  # whatever opening or drawing a picture stumbles over
                failing.add(number, error)

    def parts(self, cell: Cell, rows: list[int], failing: Failing, *, whole: bool) -> list[Part]:
        """A cell's results: whole, or in parts.

        Args:
            cell: what is to be measured.
            rows: its samples' numbers in the experiment.
            failing: is told of samples that cannot be measured.
            whole: whether these are all samples of the batch; else they are kept one by one.
        """
        if self._store is None:
            return self._measured(cell, rows, failing)
        if (kept := self._kept(cell, rows)) is not None:
            failing.worked = True
            return [(rows, kept)]
        found: list[Part] = []
        left = []
        for at, row in enumerate(rows):
            kept = self._kept(cell.of([at]), [row]) if len(rows) > 1 else None
            if kept is None:
                left.append(at)
            else:
                failing.worked = True
                found.append(([row], kept))
        if not left:
            return found
        if self._barred:
            raise DataError(f"{self._barred}, and results are missing there; name another folder")
        made = self._measured(cell.of(left), [rows[at] for at in left], failing)
        whole = whole and len(made) == 1 and made[0][0] == rows
        for own, table in made:
            if whole:
                self._keep(cell, table)
                continue
            for at, row in enumerate(own):
                self._keep(cell.of([rows.index(row)]), table.isel(sample=[at]))
        return found + made

    def _kept(self, cell: Cell, rows: list[int]) -> xr.Dataset | None:
        assert self._store is not None
        table = self._store.read(self._key(cell), [sample.id for sample in cell.samples])
        return None if table is None else sized(table, rows)

    def _keep(self, cell: Cell, table: xr.Dataset) -> None:
        assert self._store is not None
        self._store.write(self._key(cell), table, [sample.id for sample in cell.samples])

    def _key(self, cell: Cell) -> str:
        assert self._keys is not None
        return cell.key_of(self._keys)

    def _measured(self, cell: Cell, rows: list[int], failing: Failing) -> list[Part]:
        """What a pass makes of these samples; of one after the other, where one of them fails."""
        try:
            table = cell.run()
        except EVERYBODYS:
            raise
        except Exception as error:  # whatever a picture, a processor or a measure stumbles over
            traceback.clear_frames(error.__traceback__)  # they hold what the pass had made
            if len(rows) == 1:
                failing.add(rows[0], error)
                return []
        else:
            failing.worked = True
            return [(rows, sized(table, rows))]
        parts = [self._measured(cell.of([at]), [row], failing) for at, row in enumerate(rows)]
        return [part for some in parts for part in some]


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
