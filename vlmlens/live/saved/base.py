"""What a saved map is: rows and columns of cells, a pair of samples, and a run for every cell."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isclose, isfinite
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from vlmlens.errors import InputError
from vlmlens.experiments.pairs.told import PAIR, asked_again, is_of, pair_again
from vlmlens.experiments.readings import Both
from vlmlens.identity import scene
from vlmlens.interventions import Intervention
from vlmlens.model import HookedVLM
from vlmlens.sample import Sample

#: Cells that are kept, as they were made.
KEPT = 8
#: How near a run's score is to the table's value of its cell, where it is the same run.
NEAR = 2e-3


@dataclass(frozen=True, eq=False)
class Made:
    """A cell that was made again.

    Attributes:
        edits: what patches it, for runs of the sample that is edited.
        score: its effect, in the table's units.
        lines: the edits as Python.
        before: Python that the lines need; ``pair`` is the clean sample in it.
        kinds: names that the lines need of ``vlmlens.interventions``.
    """

    edits: tuple[Intervention, ...]
    score: float
    lines: tuple[str, ...]
    before: str = ""
    kinds: frozenset[str] = field(default_factory=frozenset)


class Saved(ABC):
    """A map that was saved, and how its cells are made again.

    Args:
        model: an open model.
        both: the clean sample, and the one that is edited where that is another.
        table: what was saved of them.
    """

    #: What the map is, for people; and whether its values are estimates of what a cell does.
    title, kind = "", "place"
    estimates = False

    def __init__(self, model: HookedVLM, both: Both, table: xr.DataArray):
        self.model, self.both, self.table = model, both, table
        self._made: dict[tuple[int, int], Made] = {}

    @property
    def edited(self) -> Sample:
        """The sample whose runs are edited."""
        return self.both[1] or self.both[0]

    @property
    def second(self) -> Sample | None:
        """The clean sample, where it is the same question about another picture."""
        clean, other = self.both
        same = other is not None and other.question == clean.question
        return clean if same and clean.images else None

    @property
    @abstractmethod
    def rows(self) -> Sequence[str]:
        """What every row is, from the bottom."""

    @property
    @abstractmethod
    def columns(self) -> Sequence[str]:
        """What every column is."""

    @property
    @abstractmethod
    def values(self) -> Float[np.ndarray, "row column"]:
        """The table's values; NaN where there is none."""

    @property
    def there(self) -> Bool[np.ndarray, "row column"]:
        """Which cells can be chosen."""
        return np.isfinite(self.values)

    @property
    def units(self) -> str:
        """What the values are."""
        what, units = self.table.attrs["long_name"], self.table.attrs["units"]
        return what if units == "1" else f"{what}, {units}"

    @abstractmethod
    def label(self, at: tuple[int, int]) -> str:
        """What a cell is called in the list of edits."""

    @abstractmethod
    def make(self, at: tuple[int, int]) -> Made:
        """A cell, made again."""

    def cell(self, at: Sequence[int]) -> Made:
        """A cell, made again or known.

        Raises:
            InputError: no such cell.
        """
        place = (at[0], at[1]) if len(at) == 2 else (-1, -1)
        inside = all(0 <= n < size for n, size in zip(place, self.there.shape, strict=True))
        if not inside or not self.there[place]:
            raise InputError(f"at={list(at)}: the map has no such cell")
        if place not in self._made:
            while len(self._made) >= KEPT:
                self._made.pop(next(iter(self._made)))
            self._made[place] = self.make(place)
        return self._made[place]

    def forget(self) -> None:
        """Let go of what was computed: the model is another now."""
        self._made.clear()

    def refuse_other(self, sample: Sample) -> None:
        """Refuse samples that the map is not of.

        Raises:
            InputError: another question, or another picture.
        """
        if sample.question != self.edited.question:
            asked = self.edited.question
            raise InputError(f"the map is of the question {asked!r}: go back to it first")
        if not self.is_of(sample):
            raise InputError("the map is of another picture: go back to it first")

    def is_of(self, sample: Sample) -> bool:
        """Whether the map is of this question about this picture."""
        own = self.edited
        alike = sample.question == own.question
        return sample is own or (alike and scene(sample) == scene(own))

    def shown(self) -> dict[str, Any]:
        """What the page draws."""
        rounded = [
            [round(float(value), 5) if isfinite(value) else None for value in row]
            for row in self.values
        ]
        return {
            "title": self.title,
            "kind": self.kind,
            "rows": list(self.rows),
            "columns": list(self.columns),
            "values": rounded,
            "there": self.there.tolist(),
            "units": self.units,
        }

    def told(self, at: tuple[int, int]) -> dict[str, Any]:
        """What the page says of a chosen cell: the run's score beside the table's value."""
        made, value = self.cell(at), float(self.values[at])
        said = {"at": list(at), "label": self.label(at), "score": round(made.score, 5)}
        if isfinite(value):
            said["value"] = round(value, 5)
            if not self.estimates:
                said["same"] = isclose(made.score, value, rel_tol=NEAR, abs_tol=NEAR)
        return said | {"estimate": self.estimates}


def pair_of(
    table: xr.DataArray, sample: Sample | None, second: Sample | None
) -> tuple[xr.DataArray, Both]:
    """One sample's part of a table, and its pair.

    Raises:
        InputError: the table has no such sample.
        DataError: its pictures are not there.
    """
    told = [str(each) for each in table[PAIR].values]
    row = 0
    if sample is not None:
        found = [at for at, text in enumerate(told) if is_of(text, sample)]
        if not found:
            names = ", ".join(map(str, table["sample"].values[:4]))
            raise InputError(
                f"{sample.named()} is another sample than the table's, whose edited samples are "
                f"{names}{' ...' if len(told) > 4 else ''}: ask the same question about the same "
                "picture"
            )
        row = found[0]
    return table.isel(sample=row), pair_again(told[row], second, sample)


def settings_of(table: xr.DataArray, model: HookedVLM) -> Mapping[str, Any]:
    """What a table was made with.

    Raises:
        InputError: of another model; with a system prompt, which the page does not ask with.
        DataError: a table does not hold all of it.
    """
    _, name, settings = asked_again(table.attrs["asked"])
    if name != str(model.name):
        raise InputError(
            f"the table was made of the model {name!r}, and this one is {model.name!r}"
        )
    if settings.get("system") is not None:
        raise InputError(
            "the table was made with a system prompt, and the page asks without one: its cells "
            "would be other runs"
        )
    return settings
