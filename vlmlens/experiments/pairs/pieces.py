"""Pieces: some cells of one pair, wherever they are computed."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import xarray as xr

from vlmlens.experiments.sent import Sent
from vlmlens.layout import TokenLayout
from vlmlens.model import HookedVLM
from vlmlens.sample import Sample

#: A clean sample, and its counterpart, if it has one.
Both: TypeAlias = tuple[Sample, Sample | None]


@dataclass(frozen=True, eq=False)
class Piece:
    """Some cells of one pair, which are computed together.

    Attributes:
        pair: its number.
        number: which of the pair's pieces.
        both: the pair.
        first: the first of the pairs about these pictures that come one after the other: the runs
            of the others begin with its runs, whatever was computed before.
    """

    pair: int
    number: int
    both: Both
    first: Both


@dataclass(frozen=True, eq=False)
class Cells:
    """What came of a piece.

    Attributes:
        piece: which.
        table: over ``cell``.
    """

    piece: Piece
    table: xr.Dataset


@dataclass(frozen=True, eq=False)
class Plan:
    """What there is to do of a pair.

    Attributes:
        sizes: how many cells every piece has.
        layout: of the sample that is edited, where cells are named by it.
    """

    sizes: Sequence[int]
    layout: TokenLayout | None = None


class PairWork(Sent[Piece, Cells]):
    """What is measured of pairs, and how.

    Args:
        model: an open model.
    """

    #: What this is called, in a folder and by a bar.
    name = ""
    #: Cells that a piece has at most, or nearly.
    most = 256

    def __init__(self, model: HookedVLM):
        super().__init__(model)
        self._made: list[tuple[Both, Any]] = []
        self.most = type(self).most  # its own, so that it goes where this is sent

    @abstractmethod
    def plan(self, both: Both) -> Plan:
        """What there is to do of a pair, before any pass."""

    @abstractmethod
    def runs(self, both: Both, first: Any | None) -> Any:
        """What every piece of a pair begins with: its passes.

        Args:
            both: the pair.
            first: the same of the first pair about these pictures; None for that one.
        """

    @abstractmethod
    def cells(self, both: Both, runs: Any, number: int) -> xr.Dataset:
        """The cells of a piece."""

    @abstractmethod
    def labelled(self, both: Both, plan: Plan, tables: Sequence[xr.Dataset]) -> xr.DataArray:
        """All pieces of a pair as one map, with its coordinates."""

    def steps(self, task: Piece) -> Iterator[Cells]:
        """A piece; the runs of its pair are kept for the next one."""
        first = self._runs(task.first, None)
        runs = first if task.both is task.first else self._runs(task.both, first)
        yield Cells(task, self.cells(task.both, runs, task.number))

    def _runs(self, both: Both, first: Any | None) -> Any:
        for known, runs in self._made:
            if known is both:
                return runs
        self._made = self._made[:1] if first is not None else []
        runs = self.runs(both, first)
        self._made.append((both, runs))
        return runs

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_made": []}
