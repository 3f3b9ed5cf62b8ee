"""Sweeping: every cell between a clean sample and its counterpart."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from vlmlens.cache import ActivationCache
from vlmlens.experiments.effect_maps import effect_map, with_words
from vlmlens.experiments.pairs.pieces import Both, CellWork, Plan
from vlmlens.experiments.pairs.swept import Cell, Swept
from vlmlens.experiments.pairs.told import ASKED, PAIR, asked_told, pair_told
from vlmlens.experiments.readings import Reading, readings_of, units_of
from vlmlens.experiments.units import tiles_together
from vlmlens.identity import unit
from vlmlens.layout import TokenLayout
from vlmlens.model import HookedVLM, Inputs, Prefill
from vlmlens.model.reading.finite import broken, watching
from vlmlens.model.reuse.prefill import common
from vlmlens.sample import Sample

Rows = Float[Tensor, "row vocab"]


@dataclass(frozen=True, eq=False)
class Side:
    """The runs that one reading compares.

    Attributes:
        reading: what is read.
        clean: the run to take from.
        base: the run to edit.
        taken: what is taken from the first.
        logits: of the clean and of the edited run, at the positions that are read.
    """

    reading: Reading
    clean: Prefill
    base: Prefill
    taken: ActivationCache
    logits: tuple[Rows, Rows]


@dataclass(frozen=True, eq=False)
class Runs:
    """What every piece of a pair begins with."""

    sides: Sequence[Side]
    cells: Sequence[Cell]


class Sweeping(CellWork):
    """A sweep's pairs.

    Args:
        model: an open model.
        asked: what is edited and read.
    """

    def __init__(self, model: HookedVLM, asked: Swept):
        super().__init__(model)
        self._asked, self.name = asked, f"sweep {asked.point}"

    @property
    def how(self) -> tuple[Any, ...]:
        """Everything that decides over a cell's score."""
        return self._asked.key

    def plan(self, both: Both) -> Plan:
        """How many cells the pieces have."""
        inputs = self._inputs(both)
        count = len(self._cells(inputs))
        starts = range(0, count, self.most)
        return Plan([min(self.most, count - start) for start in starts], inputs.layouts[0])

    def restores(self, both: Both) -> bool:
        """Whether effects are shares of what the corruption does."""
        corrupts = both[1] is not None or bool(self._asked.corrupt)
        return corrupts and self._asked.normalized

    def runs(self, both: Both, first: Runs | None) -> Runs:
        """The runs to take from and to edit, from what they share with the first pair's."""
        asked, prompt = self._asked, self._inputs(both)
        layout = prompt.layouts[0]
        readings = readings_of(asked.score, self.model, *both, asked.system, layout)
        near = [] if first is None else [r for s in first.sides for r in (s.base, s.clean)]
        sides = []
        for reading in readings:
            sides.append(self._side(both, reading, near, layout))
            near += [sides[-1].clean, sides[-1].base]
        return Runs(sides, self._cells(prompt))

    def _side(
        self, both: Both, reading: Reading, near: Sequence[Prefill], layout: TokenLayout
    ) -> Side:
        clean, corrupted = both
        asked, model = self._asked, self.model
        said = _said(reading, layout)
        names = asked.names(model) if asked.edit is None else []
        points = list(dict.fromkeys(map(asked.taken, names)))
        with watching(model) as seen:
            given = reading.inputs(model, [clean], asked.system)
            source, taken = self._source(given, points, near)
            self._refuse(seen.broken, clean, given)
            if corrupted is not None:
                given = reading.inputs(model, [corrupted], asked.system)
                base = model.prefill(given, after=_nearest([*near, source], given))
            elif asked.within:
                base = model.prefill(given, interventions=asked.corruption(said))
            else:
                base = source
        self._refuse(seen.broken, corrupted or clean, given)
        top = reading.rows(model, source)
        floor = top if base is source else reading.rows(model, base)
        if asked.corrupt and not asked.within:
            floor = reading.rows(model, base, asked.corruption(said))
        return Side(reading, source, base, taken, (top, floor))

    def _source(
        self, given: Inputs, points: Sequence[str], near: Sequence[Prefill]
    ) -> tuple[Prefill, ActivationCache]:
        """The clean run, and what is taken from it; a prefill keeps nothing of the tower."""
        model = self.model
        outside = [p for name in points for p in model.matching(name)]
        if any(name.startswith(("vision.", "projector.")) for name in outside):
            saved = model.run(given, save=outside, logits="last").saved
            return model.prefill(given, after=_nearest(near, given)), saved
        after = _nearest([each for each in near if set(points) <= set(each.saved)], given)
        run = model.prefill(given, list(points), after=after)
        return run, run.saved

    def cells(self, both: Both, runs: Runs, number: int) -> xr.Dataset:
        """The scores of a piece's cells, and of the two runs."""
        clean, corrupted = both
        some = runs.cells[number * self.most :][: self.most]
        scores, top, floor, whole = 0.0, 0.0, 0.0, 0
        sample = corrupted or clean
        for side in runs.sides:
            reading, inputs = side.reading, side.base.inputs
            layout = _said(reading, self._inputs(both).layouts[0])
            edits = [self._asked.edits(cell, side.taken, layout) for cell in some]
            found = self.model.resume(side.base, edits, reading.positions, unseen=True)
            with torch.no_grad():
                own = reading.measure(found.logits, side.logits[0]).float().cpu().numpy()
                ends = [float(reading.measure(rows[None], side.logits[0])) for rows in side.logits]
            finite = torch.isfinite(found.logits.clamp(min=0)).flatten(1).all(1).cpu().numpy()
            lost = np.flatnonzero(~(finite & np.isfinite(own)))
            self._refuse(not np.isfinite(ends).all(), sample, inputs)
            self._refuse(bool(lost.size), sample, inputs, edits[lost[0]] if lost.size else ())
            scores = scores + reading.weight * own
            top, floor = top + reading.weight * ends[0], floor + reading.weight * ends[1]
            whole += len(found.whole)
        return xr.Dataset({"score": ("cell", scores), "clean": top, "base": floor, "whole": whole})

    def labelled(self, both: Both, plan: Plan, tables: Sequence[xr.Dataset]) -> xr.DataArray:
        """Every cell's effect, by layer and place."""
        (clean, corrupted), layout, asked = both, plan.layout, self._asked
        assert layout is not None
        restored = self.restores(both)
        top, floor = (float(tables[0][name]) for name in ("clean", "base"))
        values = np.concatenate([table["score"].values for table in tables]) - floor
        if restored:
            values = values / (top - floor)
        hooks = self.model.hook_dict
        places = asked.places(self.model, self._inputs(both), layout)
        labels, layers = list(places.cells), [hooks[n].point.layer for n in asked.names(self.model)]
        grid = values.reshape(len(labels), len(layers)).T
        effect = effect_map(grid, layers, labels, places.dims)
        effect = with_words(effect, layout) if "pos" in places.dims else effect
        sample = corrupted or clean
        tiles = tiles_together(places.dims, layout)
        return (
            effect.expand_dims("sample")
            .assign_coords({} if tiles is None else {"tiles": ("sample", [tiles])})
            .assign_coords(
                sample=[sample.id or sample.question],
                clean=("sample", [top]),
                corrupted=("sample", [floor]),
                question=("sample", [sample.question]),
                picture=("sample", [unit(sample)]),
            )
            .assign_coords({PAIR: ("sample", [pair_told(both)])})
            .assign_attrs(
                long_name="share of the answer restored" if restored else "effect",
                units="1" if restored else units_of(asked.score),
                source="arXiv:2202.05262",
                point=asked.point,
                edit="PatchFrom" if asked.edit is None else str(asked.edit),
                window=asked.window,
                **{ASKED: asked_told("sweep", str(self.model.name), vars(asked))},
                whole_passes=sum(int(table["whole"]) for table in tables),
            )
        )

    def _inputs(self, both: Both) -> Inputs:
        """Of the sample that is edited."""
        clean, corrupted = both
        return self.model.inputs([corrupted or clean], system=self._asked.system)

    def _cells(self, inputs: Inputs) -> list[Cell]:
        places = self._asked.places(self.model, inputs, inputs.layouts[0])
        return self._asked.cells(self.model, places)

    def _refuse(self, nonfinite: bool, sample: Sample, inputs: Inputs, edits: Any = ()) -> None:
        if nonfinite and not self._asked.allow_nonfinite:
            name = sample.id or sample.question
            raise broken(self.model, name, inputs, edits, "the score of its last position is")


def _nearest(known: Sequence[Prefill], inputs: Inputs) -> Prefill | None:
    """The run that shares most with these inputs."""
    return max(known, key=lambda each: common(each, inputs, "auto"), default=None)


def _said(reading: Reading, layout: TokenLayout) -> TokenLayout | None:
    """The prompt's layout, where something is said after it."""
    return None if reading.answer is None else layout
