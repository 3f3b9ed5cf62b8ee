"""What a sweep edits: its points, its places, and the edits of every cell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vlmlens.cache import ActivationCache
from vlmlens.errors import InputError
from vlmlens.experiments.readings import AnyScore
from vlmlens.experiments.units import Label, Over, Units, units
from vlmlens.interventions import Intervention, PatchFrom
from vlmlens.layout import TokenLayout
from vlmlens.model import HookedVLM, Inputs
from vlmlens.model.passes.edits import embeds
from vlmlens.positions import At, chosen
from vlmlens.select import Where

#: Where an edit may say places in the sequence.
SIDES = ("positions", "queries", "keys")


@dataclass(frozen=True, eq=False)
class Cell:
    """One cell of a sweep.

    Attributes:
        label: of its place.
        names: the points that it edits: one, or those of a window of layers.
        place: what of them.
    """

    label: Label
    names: Sequence[str]
    place: Where


@dataclass(frozen=True, eq=False)
class Swept:
    """What a sweep edits and reads; see ``sweep``."""

    point: str
    over: Over
    where: Where
    edit: Intervention | None
    corrupt: tuple[Intervention, ...]
    source_point: str | None
    window: int
    score: AnyScore
    system: str | None
    normalized: bool
    allow_nonfinite: bool

    @property
    def key(self) -> tuple[Any, ...]:
        """Everything that decides over a cell's score."""
        nonfinite = ("nonfinite",) * self.allow_nonfinite
        asked = (self.point, self.over, self.where, self.edit, self.corrupt, self.source_point)
        return ("sweep", *asked, self.window, self.score, self.system, *nonfinite)

    @property
    def within(self) -> bool:
        """Whether the corrupted run is one whose embeddings were edited, and no more."""
        return bool(self.corrupt) and all(map(embeds, self.corrupt))

    def names(self, model: HookedVLM) -> list[str]:
        """The points that are edited, layer by layer.

        Raises:
            InputError: there is none in these layers, or a window of what has no layers.
            EmptySelectionError: layers of a point that is in no block.
        """
        found, matching = [], model.matching(self.point)
        self.where.refuse_no_layer([model.hook_dict[name].point.layer for name in matching])
        for name in matching:
            stack = "vision.blocks" if name.startswith("vision.") else "blocks"
            if self.where.has_layer(model.hook_dict[name].point.layer, model.depth(stack)):
                found.append(name)
        if not found:
            raise InputError(f"{self.point} in layers={self.where.layers!r} is no point")
        if len({model.hook_dict[name].axes for name in found}) > 1:
            raise InputError(f"{self.point} matches points of several kinds: sweep one kind")
        if self.window > 1 and model.hook_dict[found[0]].point.layer is None:
            raise InputError(f"window={self.window}: {found[0]} belongs to no layer")
        return found

    def places(self, model: HookedVLM, inputs: Inputs, layout: TokenLayout) -> Units:
        """What the cells of each layer edit."""
        name = self.names(model)[0]

        def shape() -> Sequence[int]:
            return model.run(inputs, save=name, logits=False).saved[name].shape

        where = replace(self.where, layers=None)
        return units(self.over, layout, model.hook_dict[name], where, shape)

    def cells(self, model: HookedVLM, places: Units) -> list[Cell]:
        """All cells, all layers of a place in a row, since they share their keys."""
        names, low, high = self.names(model), self.window // 2, -(-self.window // 2)
        windows = [names[max(0, at - low) : at + high] for at in range(len(names))]
        return [Cell(label, some, at) for label, at in places.cells.items() for some in windows]

    def corruption(self, layout: TokenLayout | None) -> list[Intervention]:
        """What corrupts, at places of the prompt."""
        return [replace(edit, where=settled(edit.where, layout)) for edit in self.corrupt]

    def taken(self, name: str) -> str:
        """The point that is put in the place of another; a ``*`` stands for its layer."""
        if self.source_point is None:
            return name
        layer = name.partition("blocks.")[2].partition(".")[0]
        return self.source_point.replace("*", layer)

    def edits(
        self, cell: Cell, source: ActivationCache, layout: TokenLayout | None
    ) -> list[Intervention]:
        """The edits of a cell.

        Args:
            cell: the cell.
            source: the activations that are patched in.
            layout: of the prompt, where something is said after it, whose places then count.

        Raises:
            InputError: an edit that knows its own points.
        """
        place = settled(cell.place, layout)
        made = [] if self.within else self.corruption(layout)
        for name in cell.names:
            if self.edit is not None:
                edit = replace(self.edit, point=name, where=place)
                if edit.points != (name,):
                    raise InputError(f"{edit} edits points of its own: it cannot be swept by point")
            else:
                other = self.taken(name)
                other = None if other == name else other
                edit = PatchFrom(point=name, where=place, source=source, source_point=other)
            made.append(edit)
        return made


def settled(place: Where, layout: TokenLayout | None) -> Where:
    """A place that means the same positions once something is said after the prompt."""
    if layout is None:
        return place
    fixed: Mapping[str, Any] = {
        side: At(tuple(np.flatnonzero(chosen(layout, wanted)).tolist()))
        for side in SIDES
        if (wanted := getattr(place, side)) is not None
    }
    return replace(place, **fixed)
