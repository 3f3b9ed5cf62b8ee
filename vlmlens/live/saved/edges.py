"""A saved circuit, or a table of estimated edges: a chosen edge is patched exactly."""

from functools import reduce
from operator import and_
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool

from vlmlens.ends import read_end
from vlmlens.errors import InputError
from vlmlens.experiments import Circuit
from vlmlens.experiments.circuits.nodes import readers, writers
from vlmlens.experiments.circuits.places import REST
from vlmlens.experiments.readings import Both
from vlmlens.live.saved.base import pair_of, settings_of
from vlmlens.live.saved.paths import Paths
from vlmlens.model import HookedVLM
from vlmlens.positions import Selection, as_selection
from vlmlens.roles import ROLES
from vlmlens.sample import Sample
from vlmlens.select import Where

#: The column of nodes as a whole: every edge out of one that there is, patched together.
ALL = "all its edges"


class SavedEdges(Paths):
    """Some of a model's edges, perhaps with their estimates; and each node with all of its own.

    Raises:
        InputError: no pair that a circuit could be patched on, edges that the model does not have.
    """

    title = "Saved circuit"
    estimates = True

    def __init__(
        self,
        model: HookedVLM,
        circuit: Circuit,
        table: xr.DataArray | None,
        sample: Sample | None,
        second: Sample | None,
    ):
        both, one, settings = _opened(model, table, sample, second)
        ends = [[read_end(name) for name in edge] for edge in circuit.edges]
        names = [
            [end.label for end in sorted({e[side] for e in ends}, key=_order(circuit))]
            for side in (0, 1)
        ]
        _refuse_absent(model, names)
        columns = [ALL, *names[1]]
        grid = xr.DataArray(
            np.full((len(names[0]), len(columns)), np.nan),
            dims=("writer", "reader"),
            coords={"writer": names[0], "reader": columns},
            attrs={"long_name": "effect of the edge alone", "units": "none is saved"},
        )
        if one is not None:
            grid = one.reindex_like(grid).transpose("writer", "reader").assign_attrs(one.attrs)
        super().__init__(model, both, grid, settings)
        self._edges, self._places = set(circuit.edges), circuit.places

    @property
    def there(self) -> Bool[np.ndarray, "row column"]:
        return np.array(
            [[b == ALL or (a, b) in self._edges for b in self.columns] for a in self.rows]
        )

    def label(self, at: tuple[int, int]) -> str:
        if self.columns[at[1]] != ALL:
            return super().label(at)
        count = len(self._read_from(self.rows[at[0]]))
        return f"patch all edges out of {self.rows[at[0]]} ({count})"

    def ends(self, at: tuple[int, int]) -> tuple[Any, Any, dict[str, Any]]:
        writer, reader = self.rows[at[0]], self.columns[at[1]]
        place = read_end(writer).place
        where = Where(positions=self._positions(place)) if place else Where()
        readers = self._read_from(writer) if reader == ALL else [reader]
        told = tuple(name.partition("@")[0] for name in readers)
        both = {"sent": where, "received": where}
        return writer.partition("@")[0], told if reader == ALL else told[0], both

    def _read_from(self, writer: str) -> list[str]:
        """Who reads what a node writes."""
        return [reader for reader in self.columns if (writer, reader) in self._edges]

    def _positions(self, place: str) -> str | Selection:
        """What a place means: a position in several belongs to the first, in none to the rest.

        Raises:
            InputError: a place of the circuit's own, of which a file has the name alone.
        """
        named = [name for name in self._places if name != REST]
        before = named if place == REST else named[: named.index(place)]
        if own := [name for name in (*before, place) if name not in (*ROLES, "last", REST)]:
            raise InputError(
                f"{own[0]!r} is a place of the circuit's own, and a file does not say where that "
                "is: edges at roles, at the last position and beside them can be chosen"
            )
        if not before:
            return place
        others = [~as_selection(name) for name in before]
        return reduce(and_, others if place == REST else [as_selection(place), *others])


def _opened(
    model: HookedVLM, table: xr.DataArray | None, sample: Sample | None, second: Sample | None
) -> tuple[Both, xr.DataArray | None, dict[str, Any]]:
    """The pair, its part of a table, and how a path is scored."""
    if table is not None:
        settings = dict(settings_of(table, model))
        one, both = pair_of(table, sample, second)
        return both, one, settings | {"normalized": one.attrs["units"] == "1"}
    if sample is None or second is None:
        raise InputError(
            "a circuit's file holds edges alone: say which pair they are patched on, sample= (the "
            "one that is edited) and second= (the clean one)"
        )
    known = sample.answer is not None and second.answer is not None
    score = "logit_difference" if known and sample.answer != second.answer else "kl"
    return (second, sample), None, {"score": score, "normalized": False}


def _order(circuit: Circuit) -> Any:
    return lambda end: end.order(circuit.places)


def _refuse_absent(model: HookedVLM, names: list[list[str]]) -> None:
    for own, there in zip(names, (writers(model), readers(model)), strict=True):
        known = {node.name for node in there}
        for name in own:
            if name.partition("@")[0] not in known:
                raise InputError(f"this model has no {name}: the circuit is of another one")
