"""One pair of a sweep: a clean sample, its counterpart, and every cell between them."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float

from vlmlens.errors import InputError
from vlmlens.experiments.effect_maps import effect_map, with_words
from vlmlens.experiments.keys import Keys
from vlmlens.experiments.scores import UNITS, Score, score_of
from vlmlens.experiments.units import Label, units
from vlmlens.identity import unit
from vlmlens.interventions import Intervention, PatchFrom
from vlmlens.model import HookedVLM, Inputs, Prefill
from vlmlens.model.reading.finite import broken, watching
from vlmlens.model.reuse.prefill import common
from vlmlens.positions import chosen
from vlmlens.sample import Sample
from vlmlens.select import Where
from vlmlens.store import Condition, Store

#: Cells between two looks at the clock and at the disk.
CHUNK = 256


@dataclass
class Memory:
    """The last prefill of each side, for the next question about the same picture."""

    clean: Prefill | None = None
    base: Prefill | None = None


class KeptCells:
    """Cells of a sweep in a store: a row is a pair and so many of its cells."""

    def __init__(self, store: Store, keys: Keys):
        self._store, self._keys = store, keys
        self._chunks: dict[int, tuple[str, int, int]] = {}

    def read(self, pair: "Pair", number: int) -> xr.Dataset | None:
        """Some cells of a pair; None where they are not done."""
        condition, key = self._place(pair, number)
        found = self._store.read({"": (condition.key, [key])})[""]
        return found[0][1].isel(sample=0) if found else None

    def keep(self, pair: "Pair", number: int, cells: xr.Dataset) -> None:
        """Keep some cells of a pair."""
        condition, key = self._place(pair, number)
        name = pair.clean.id or pair.clean.question
        self._store.add(condition, [key], [name], cells.expand_dims("sample"))
        if self._store.due:
            self._store.flush()

    def _place(self, pair: "Pair", number: int) -> tuple[Condition, bytes]:
        chunk = self._chunks.setdefault(number, ("cells", number, CHUNK))
        return self._keys.condition(chunk, "sweep"), self._keys.of(
            (pair.clean, pair.corrupted), chunk
        )


@dataclass(frozen=True)
class Pair:
    """One clean sample, its counterpart, and the cells between them."""

    model: HookedVLM
    clean: Sample
    corrupted: Sample | None
    point: str
    over: str
    where: Where
    edit: Intervention | None
    score: str | Score
    system: str | None
    allow_nonfinite: bool

    @cached_property
    def inputs(self) -> Inputs:
        """Of the sample that is edited."""
        return self.model.inputs([self.corrupted or self.clean], system=self.system)

    @cached_property
    def names(self) -> list[str]:
        """The points that are edited, layer by layer."""
        model, depth = self.model, self.model.depth()
        found = [
            name
            for name in model.matching(self.point)
            if self.where.has_layer(model.hook_dict[name].point.layer, depth)
        ]
        if not found:
            raise InputError(f"{self.point} in layers={self.where.layers!r} is no point")
        return found

    @cached_property
    def cells(self) -> dict[tuple[Label, str], Where]:
        """What every cell edits; all layers of a place in a row, since they share their keys."""
        hooked = self.model.hook_dict[self.names[0]]
        places = units(self.over, self.inputs.layouts[0], hooked, replace(self.where, layers=None))
        return {(label, name): place for label, place in places.items() for name in self.names}

    def effects(
        self,
        cells_of: "KeptCells | None",
        memory: Memory,
        advance: Any,
        normalized: bool,
    ) -> xr.DataArray:
        """Every cell's effect, from the store where it is done."""
        cells = list(self.cells.items())
        chunks = [cells[start : start + CHUNK] for start in range(0, len(cells), CHUNK)]
        cost = [sum(self._cost(name, place) for (_, name), place in chunk) for chunk in chunks]
        found: list[xr.Dataset] = []
        runs: tuple[Prefill, Prefill] | None = None
        for number, chunk in enumerate(chunks):
            kept = None if cells_of is None else cells_of.read(self, number)
            if kept is None:
                runs = runs or self._runs(memory)
                kept = self._chunk(chunk, *runs)
                if cells_of is not None:
                    cells_of.keep(self, number, kept)
            found.append(kept)
            advance(cost[number] / sum(cost))
        scores = np.concatenate([table["score"].values for table in found])
        top, floor = (float(found[0][name]) for name in ("clean", "base"))
        values = scores - floor
        if self.corrupted is not None and normalized:
            if np.isclose(top, floor, rtol=1e-4, atol=1e-5):
                raise InputError(
                    f"{self.clean.question!r}: the clean and the corrupted run score alike, "
                    f"{top:.4g}, so there is nothing to restore; normalized=False"
                )
            values = values / (top - floor)
        whole = sum(int(table["whole"]) for table in found)
        return self._labelled(values, top, floor, normalized, whole)

    def _cost(self, name: str, place: Where) -> int:
        """Blocks times positions of a cell's cone, or nearly: what its time goes with."""
        layer = self.model.hook_dict[name].point.layer or 0
        wanted = place.positions if place.queries is None else place.queries
        layout = self.inputs.layouts[0]
        first = 0 if wanted is None else int(chosen(layout, wanted).argmax())
        return (self.model.layers - layer) * max(len(layout) - first, 16)

    def _runs(self, memory: Memory) -> tuple[Prefill, Prefill]:
        """The run to take from and the run to edit, starting from what is remembered."""
        model = self.model
        source, given = memory.clean, self.inputs
        with watching(model) as seen:
            if self.corrupted is not None:
                given = model.inputs([self.clean], system=self.system)
                source = memory.clean = model.prefill(given, self.names, after=memory.clean)
                self._refuse(seen.broken, self.clean, given)
            # A pair of two questions about one picture shares it between its own two runs.
            known = [each for each in (memory.base, memory.clean) if each is not None]
            near = max(known, key=lambda each: common(each, self.inputs, "auto"), default=None)
            base = memory.base = model.prefill(self.inputs, after=near)
        self._refuse(seen.broken, self.corrupted or self.clean, self.inputs)
        return source or base, base

    def _refuse(self, nonfinite: bool, sample: Sample, inputs: Inputs, edits: Any = ()) -> None:
        if nonfinite and not self.allow_nonfinite:
            name = sample.id or sample.question
            raise broken(self.model, name, inputs, edits, "the score of its last position is")

    def _chunk(self, chunk: Any, source: Prefill, base: Prefill) -> xr.Dataset:
        score = score_of(self.score, self.model, self.clean, self.corrupted, self.system)
        edits = []
        for (_, name), place in chunk:
            if self.edit is None:
                edits.append([PatchFrom(point=name, where=place, source=source.saved)])
            else:
                made = replace(self.edit, point=name, where=place)
                if made.points != (name,):
                    raise InputError(f"{made} edits points of its own: it cannot be swept by point")
                edits.append([made])
        found = self.model.resume(base, edits, unseen=True)
        with torch.no_grad():
            table = xr.Dataset(
                {
                    "score": ("cell", score(found.logits[:, -1]).float().cpu().numpy()),
                    "clean": float(score(source.logits)),
                    "base": float(score(base.logits)),
                    "whole": len(found.whole),
                }
            )
        whole = torch.isfinite(found.logits[:, -1].clamp(min=0)).all(-1).cpu().numpy()
        lost = np.flatnonzero(~(whole & np.isfinite(table["score"].values)))
        sample = self.corrupted or self.clean
        self._refuse(not np.isfinite([table["clean"], table["base"]]).all(), sample, self.inputs)
        self._refuse(bool(lost.size), sample, self.inputs, edits[lost[0]] if lost.size else ())
        return table

    def _labelled(
        self,
        values: Float[np.ndarray, " cell"],
        top: float,
        floor: float,
        normalized: bool,
        whole: int,
    ) -> xr.DataArray:
        hooks = self.model.hook_dict
        labels = list(dict.fromkeys(label for label, _ in self.cells))
        layers = [hooks[name].point.layer for name in self.names]
        effect = effect_map(values.reshape(len(labels), len(layers)).T, layers, labels, self.over)
        if self.over == "pos":
            effect = with_words(effect, self.inputs.layouts[0])
        restored = self.corrupted is not None and normalized
        sample = self.corrupted or self.clean
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
                units="1" if restored else UNITS.get(str(self.score), "score"),
                source="arXiv:2202.05262",
                point=self.point,
                edit="PatchFrom" if self.edit is None else str(self.edit),
                whole_passes=whole,
            )
        )
