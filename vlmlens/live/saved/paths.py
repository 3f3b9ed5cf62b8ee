"""A saved table of paths: every cell is what one sender tells one receiver."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from vlmlens.experiments import path_edits, path_patch
from vlmlens.experiments.readings import Both
from vlmlens.live.saved.base import Made, Saved, pair_of, settings_of
from vlmlens.model import HookedVLM
from vlmlens.sample import Sample
from vlmlens.select import Where


class Paths(Saved):
    """Cells that are paths.

    Args:
        model: an open model.
        both: a clean sample, and the corrupted one.
        table: (row, column), named.
        ends: the nodes of every row, and of every column, as ``path_patch`` takes them.
        settings: of ``path_patch``.
    """

    kind = "path"

    def __init__(
        self, model: HookedVLM, both: Both, table: xr.DataArray, settings: Mapping[str, Any]
    ):
        super().__init__(model, both, table)
        self._settings = dict(settings)
        self._rows, self._columns = (
            [str(name) for name in table[dim].values] for dim in table.dims
        )

    @property
    def rows(self) -> Sequence[str]:
        return self._rows

    @property
    def columns(self) -> Sequence[str]:
        return self._columns

    @property
    def values(self) -> Float[np.ndarray, "row column"]:
        return self.table.values

    def label(self, at: tuple[int, int]) -> str:
        return f"patch the path {self.rows[at[0]]} → {self.columns[at[1]]}"

    def ends(self, at: tuple[int, int]) -> tuple[Any, Any, dict[str, Any]]:
        """The sender, the receiver, and where they send and receive."""
        sender, receiver = (
            tuple(name.split("+")) if "+" in name else name
            for name in (self.rows[at[0]], self.columns[at[1]])
        )
        own = {name: self._settings.get(name, Where()) for name in ("sent", "received")}
        return sender, receiver, own

    def make(self, at: tuple[int, int]) -> Made:
        clean, edited = self.both
        assert edited is not None
        sender, receiver, where = self.ends(at)
        edits = path_edits(self.model, clean, edited, sender, receiver, **where)
        asked = self._settings | where
        found = path_patch(self.model, clean, edited, [sender], [receiver], progress=False, **asked)
        said = [f"{name}={value!r}" for name, value in where.items() if value != Where()]
        said = ", ".join(["model", "pair", "sample", repr(sender), repr(receiver), *said])
        return Made(edits, found.item(), (f"*vl.experiments.path_edits({said})",))


class SavedPaths(Paths):
    """A table that ``experiments.path_patch`` returned."""

    title = "Saved paths"

    def __init__(
        self, model: HookedVLM, table: xr.DataArray, sample: Sample | None, second: Sample | None
    ):
        settings = settings_of(table, model)
        one, both = pair_of(table, sample, second)
        super().__init__(model, both, one.transpose("sender", "receiver"), settings)
