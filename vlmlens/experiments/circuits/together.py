"""Pairs that are run together, and what comes of each: kept, counted, left out by name."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float, Shaped

from vlmlens.experiments.pairs.pieces import Both, PairWork, Piece, Plan
from vlmlens.experiments.pairs.running import How, over_pairs
from vlmlens.experiments.pairs.told import PAIR, pair_told
from vlmlens.identity import unit
from vlmlens.sample import Sample

#: What a table says of every pair.
ABOUT = ("clean", "corrupted", "question", "picture", PAIR)


class TwinWork(PairWork[xr.Dataset]):
    """What is measured of pairs in passes that several share, an array of each."""

    def twins(self, piece: Piece) -> list[tuple[Sample, Sample]]:
        """Clean and corrupted samples."""
        return [(clean, other) for clean, other in piece.pairs.values() if other is not None]

    def parted(
        self,
        name: str,
        dims: Sequence[str],
        values: Float[np.ndarray, "sample ..."],
        ends: Float[np.ndarray, "2 sample"],
    ) -> list[xr.Dataset]:
        """A table of every pair: its part of an array, and how its two runs score."""
        return [
            xr.Dataset({name: (dims, own), "clean": top, "base": floor})
            for own, (top, floor) in zip(values, ends.T, strict=True)
        ]

    def labelled(self, both: Both, plan: Plan, tables: Sequence[xr.Dataset]) -> xr.Dataset:
        """A pair's table, with what the pair is."""
        (table,), corrupted = tables, both[1]
        assert corrupted is not None
        about = {"question": corrupted.question, "picture": unit(corrupted)}
        about[PAIR] = pair_told(both)
        return table.rename(base="corrupted").assign(about)


def over_twins(work: TwinWork, pairs: Sequence[Both], how: How) -> xr.Dataset:
    """Measure pairs, as one table over ``sample``.

    Raises:
        VLMLensError: as ``over_pairs``.
    """
    found = over_pairs(work, pairs, how)
    table = xr.concat(found.made, "sample", data_vars="all", join="exact", combine_attrs="drop")
    return table.assign_coords(sample=found.names).assign_attrs(found.attrs)


def pair_coords(table: xr.Dataset) -> dict[str, tuple[str, Shaped[np.ndarray, " sample"]]]:
    """What identifies each pair, by coordinate."""
    return {name: ("sample", table[name].values) for name in ("sample", *ABOUT)}
