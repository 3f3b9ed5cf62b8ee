"""Sweeping: every cell between a clean sample and its counterpart."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import torch
import xarray as xr

from vlmlens.errors import InputError
from vlmlens.experiments.effect_maps import effect_map, with_words
from vlmlens.experiments.pairs.pieces import Both, PairWork, Plan
from vlmlens.experiments.scores import UNITS, Score, score_of
from vlmlens.experiments.units import Label, units
from vlmlens.identity import unit
from vlmlens.interventions import Intervention, PatchFrom
from vlmlens.layout import TokenLayout
from vlmlens.model import HookedVLM, Inputs, Prefill
from vlmlens.model.reading.finite import broken, watching
from vlmlens.model.reuse.prefill import common
from vlmlens.sample import Sample
from vlmlens.select import Where

#: Its place's label and its point; what it edits there.
Cell: TypeAlias = tuple[tuple[Label, str], Where]


@dataclass(frozen=True, eq=False)
class Swept:
    """What a sweep edits and reads."""

    point: str
    over: str
    where: Where
    edit: Intervention | None
    score: str | Score
    system: str | None
    normalized: bool
    allow_nonfinite: bool


@dataclass(frozen=True, eq=False)
class Runs:
    """The run to take from, if there is one, the run to edit, and what its cells edit."""

    clean: Prefill | None
    base: Prefill
    cells: Sequence[Cell]


class Sweeping(PairWork):
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
        a = self._asked
        nonfinite = ("nonfinite",) * a.allow_nonfinite
        return "sweep", a.point, a.over, a.where, a.edit, a.score, a.system, *nonfinite

    @cached_property
    def names(self) -> list[str]:
        """The points that are edited, layer by layer."""
        model, asked = self.model, self._asked
        depth = model.depth()
        found = [
            name
            for name in model.matching(asked.point)
            if asked.where.has_layer(model.hook_dict[name].point.layer, depth)
        ]
        if not found:
            raise InputError(f"{asked.point} in layers={asked.where.layers!r} is no point")
        return found

    def plan(self, both: Both) -> Plan:
        """How many cells the pieces have."""
        layout = self._inputs(both).layouts[0]
        count = len(self._cells(layout))
        starts = range(0, count, self.most)
        return Plan([min(self.most, count - start) for start in starts], layout)

    def runs(self, both: Both, first: Runs | None) -> Runs:
        """The run to take from and the run to edit, from what they share with the first pair's."""
        model, names = self.model, self.names
        clean, corrupted = both
        inputs, source = self._inputs(both), None
        before = [] if first is None else [each for each in (first.base, first.clean) if each]
        with watching(model) as seen:
            if corrupted is not None:
                given = model.inputs([clean], system=self._asked.system)
                source = model.prefill(given, names, after=None if first is None else first.clean)
                self._refuse(seen.broken, clean, given)
                before.append(source)
            # A pair of two questions about one picture shares it between its own two runs.
            near = max(before, key=lambda each: common(each, inputs, "auto"), default=None)
            base = model.prefill(inputs, after=near)
        self._refuse(seen.broken, corrupted or clean, inputs)
        return Runs(source, base, self._cells(inputs.layouts[0]))

    def cells(self, both: Both, runs: Runs, number: int) -> xr.Dataset:
        """The scores of a piece's cells, and of the two runs."""
        clean, corrupted = both
        score = score_of(self._asked.score, self.model, clean, corrupted, self._asked.system)
        edits = [
            self._edits(name, place, runs)
            for (_, name), place in runs.cells[number * self.most :][: self.most]
        ]
        source = runs.clean or runs.base
        found = self.model.resume(runs.base, edits, unseen=True)
        with torch.no_grad():
            table = xr.Dataset(
                {
                    "score": ("cell", score(found.logits[:, -1]).float().cpu().numpy()),
                    "clean": float(score(source.logits)),
                    "base": float(score(runs.base.logits)),
                    "whole": len(found.whole),
                }
            )
        whole = torch.isfinite(found.logits[:, -1].clamp(min=0)).all(-1).cpu().numpy()
        lost = np.flatnonzero(~(whole & np.isfinite(table["score"].values)))
        sample, inputs = corrupted or clean, runs.base.inputs
        self._refuse(not np.isfinite([table["clean"], table["base"]]).all(), sample, inputs)
        self._refuse(bool(lost.size), sample, inputs, edits[lost[0]] if lost.size else ())
        return table

    def labelled(self, both: Both, plan: Plan, tables: Sequence[xr.Dataset]) -> xr.DataArray:
        """Every cell's effect, by layer and place.

        Raises:
            InputError: the two runs score alike, and effects are to be shares of the difference.
        """
        (clean, corrupted), layout = both, plan.layout
        assert layout is not None
        restored = corrupted is not None and self._asked.normalized
        top, floor = (float(tables[0][name]) for name in ("clean", "base"))
        values = np.concatenate([table["score"].values for table in tables]) - floor
        if restored:
            if np.isclose(top, floor, rtol=1e-4, atol=1e-5):
                raise InputError(
                    f"{clean.question!r}: the clean and the corrupted run score alike, "
                    f"{top:.4g}, so there is nothing to restore; normalized=False"
                )
            values = values / (top - floor)
        hooks = self.model.hook_dict
        labels = list(dict.fromkeys(label for (label, _), _ in self._cells(layout)))
        layers = [hooks[name].point.layer for name in self.names]
        over, edit = self._asked.over, self._asked.edit
        effect = effect_map(values.reshape(len(labels), len(layers)).T, layers, labels, over)
        if over == "pos":
            effect = with_words(effect, layout)
        sample = corrupted or clean
        return (
            effect.expand_dims("sample")
            .assign_coords(
                sample=[sample.id or sample.question],
                clean=("sample", [top]),
                corrupted=("sample", [floor]),
                question=("sample", [sample.question]),
                picture=("sample", [unit(sample)]),
            )
            .assign_attrs(
                long_name="share of the answer restored" if restored else "effect",
                units="1" if restored else UNITS.get(str(self._asked.score), "score"),
                source="arXiv:2202.05262",
                point=self._asked.point,
                edit="PatchFrom" if edit is None else str(edit),
                whole_passes=sum(int(table["whole"]) for table in tables),
            )
        )

    def _inputs(self, both: Both) -> Inputs:
        """Of the sample that is edited."""
        clean, corrupted = both
        return self.model.inputs([corrupted or clean], system=self._asked.system)

    def _cells(self, layout: TokenLayout) -> list[Cell]:
        """What every cell edits; all layers of a place in a row, since they share their keys."""
        hooked = self.model.hook_dict[self.names[0]]
        where = replace(self._asked.where, layers=None)
        places = units(self._asked.over, layout, hooked, where)
        return [((label, name), place) for label, place in places.items() for name in self.names]

    def _edits(self, name: str, place: Where, runs: Runs) -> list[Intervention]:
        if self._asked.edit is None:
            source = (runs.clean or runs.base).saved
            return [PatchFrom(point=name, where=place, source=source)]
        made = replace(self._asked.edit, point=name, where=place)
        if made.points != (name,):
            raise InputError(f"{made} edits points of its own: it cannot be swept by point")
        return [made]

    def _refuse(self, nonfinite: bool, sample: Sample, inputs: Inputs, edits: Any = ()) -> None:
        if nonfinite and not self._asked.allow_nonfinite:
            name = sample.id or sample.question
            raise broken(self.model, name, inputs, edits, "the score of its last position is")
