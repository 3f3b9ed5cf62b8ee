"""A saved sweep: every cell is its own patch or edit of one layer at one place."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from vlmlens.errors import InputError
from vlmlens.experiments.pairs.sweeping import Sweeping
from vlmlens.experiments.pairs.swept import Cell, Swept
from vlmlens.live.saved.base import Made, Saved, pair_of, settings_of
from vlmlens.live.source import written
from vlmlens.model import HookedVLM
from vlmlens.sample import Sample


class SavedSweep(Saved):
    """A table that ``experiments.sweep`` returned.

    Raises:
        InputError: of another model, of other samples, or other cells than this model has.
    """

    title = "Saved sweep"

    def __init__(
        self, model: HookedVLM, table: xr.DataArray, sample: Sample | None, second: Sample | None
    ):
        settings = dict(settings_of(table, model))
        one, both = pair_of(table, sample, second)
        super().__init__(model, both, one)
        self._asked = Swept(**settings)
        self._work = Sweeping(model, self._asked)
        self._work.most = 1  # a piece is a cell
        self._runs: Any = None
        given = model.inputs([self.edited])
        places = self._asked.places(model, given, given.layouts[0])
        self._dims = list(places.dims)
        layers = [model.hook_dict[name].point.layer for name in self._asked.names(model)]
        order = [(label, layer) for label in places.cells for layer in layers]
        self._cells = dict(zip(order, self._asked.cells(model, places), strict=True))
        if self._lacks():
            raise InputError(
                "the table has cells that this model does not have under this sample, so it is of "
                "another model or of another prompt"
            )

    @property
    def _grid(self) -> xr.DataArray:
        """The table (layer, place), the parts of a place's label in one dimension."""
        table = self.table if "layer" in self.table.dims else self.table.expand_dims("layer")
        if not self._dims:
            return table.expand_dims(place=[0], axis=1)
        return table.transpose("layer", *self._dims).stack(place=self._dims, create_index=False)

    def _places(self) -> list[tuple[int | str, ...]]:
        grid = self._grid
        if not self._dims:
            return [()]
        each = [grid[dim].values.tolist() for dim in self._dims]
        return list(zip(*each, strict=True))

    def _layers(self) -> list[int | None]:
        return self.table["layer"].values.tolist() if "layer" in self.table.dims else [None]

    def _lacks(self) -> bool:
        cells = {(label, layer) for label in self._places() for layer in self._layers()}
        there = self.there
        order = [(label, layer) for layer in self._layers() for label in self._places()]
        return (
            any(
                ok and each not in self._cells
                for each, ok in zip(order, there.reshape(-1), strict=True)
            )
            or not cells
        )

    @property
    def rows(self) -> Sequence[str]:
        return ["" if layer is None else str(layer) for layer in self._layers()]

    @property
    def columns(self) -> Sequence[str]:
        words = {}
        if "token" in self.table.coords:
            words = dict(
                zip(self.table["pos"].values.tolist(), self.table["token"].values, strict=True)
            )
        return [
            " ".join(
                f"{part} {words[part]}"
                if dim == "pos" and part in words
                else f"{dim} {part}"
                if not isinstance(part, str)
                else part
                for dim, part in zip(self._dims, label, strict=True)
            )
            or "all"
            for label in self._places()
        ]

    @property
    def values(self) -> Float[np.ndarray, "row column"]:
        return self._grid.values

    def label(self, at: tuple[int, int]) -> str:
        row, column = self.rows[at[0]], self.columns[at[1]]
        what = "patch" if self._asked.edit is None else type(self._asked.edit).__name__
        return f"{what} {column}" + f" in layer {row}" * bool(row)

    def make(self, at: tuple[int, int]) -> Made:
        cell = self._cells[self._places()[at[1]], self._layers()[at[0]]]
        asked = self._asked
        points = list(dict.fromkeys(map(asked.taken, cell.names))) if asked.edit is None else []
        given = self.model.inputs([self.both[0]])
        source = self.model.run(given, save=points, logits="last").saved
        before = asked.corruption(None) if asked.within else []
        edits = (*before, *asked.edits(cell, source, None))
        names = {id(source): "taken.saved"}
        other = "model.inputs(pair)" if self.both[1] is not None else "inputs"
        code = f"taken = model.run({other}, save={points!r}, logits=False)\n" if points else ""
        return Made(
            edits,
            self._score(cell),
            tuple(written(edit, names) for edit in edits),
            code,
            frozenset(type(edit).__name__ for edit in edits),
        )

    def _score(self, cell: Cell) -> float:
        if self._runs is None:
            self._runs = self._work.runs(self.both, None)
        number = next(
            n
            for n, each in enumerate(self._runs.cells)
            if each.label == cell.label and each.names == cell.names
        )
        table = self._work.cells(self.both, self._runs, number)
        top, floor = float(table["clean"]), float(table["base"])
        effect = float(table["score"][0]) - floor
        return effect / (top - floor) if self._work.restores(self.both) else effect

    def forget(self) -> None:
        super().forget()
        self._runs = None
