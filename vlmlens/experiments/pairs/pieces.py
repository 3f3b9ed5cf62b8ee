"""Pieces: what is computed together of one pair, or of some, wherever that is."""

import traceback
from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
import xarray as xr

from vlmlens.errors import InputError
from vlmlens.experiments.failing import EVERYBODYS
from vlmlens.experiments.readings import Both
from vlmlens.experiments.sent import Sent
from vlmlens.layout import TokenLayout
from vlmlens.model import HookedVLM

Made = TypeVar("Made")


@dataclass(frozen=True, eq=False)
class Piece:
    """Some cells of one pair, or of several that share a pass.

    Attributes:
        number: which of these pairs' pieces.
        pairs: by their numbers.
        first: the first of the pairs about these pictures that come one after the other: the runs
            of the others begin with its runs, whatever was computed before.
        batch: the numbers of all pairs that were cut into one pass, whatever is left of them.
    """

    number: int
    pairs: Mapping[int, Both]
    first: Both
    batch: tuple[int, ...]

    def without(self, gone: Collection[int]) -> "Piece":
        """The same piece of fewer pairs."""
        return replace(self, pairs={n: both for n, both in self.pairs.items() if n not in gone})


@dataclass(frozen=True, eq=False)
class Cells:
    """What came of one pair's part in a piece.

    Attributes:
        piece: which.
        pair: the pair's number.
        table: over ``cell``, or whatever there is of a pair.
        error: what the pair failed of.
    """

    piece: Piece
    pair: int
    table: xr.Dataset | None = None
    error: Exception | None = None


@dataclass(frozen=True, eq=False)
class Plan:
    """What there is to do of a pair.

    Attributes:
        sizes: how many cells every piece has.
        layout: of the sample that is edited, where cells are named by it.
    """

    sizes: Sequence[int] = (1,)
    layout: TokenLayout | None = None


class PairWork(Sent[Piece, Cells], Generic[Made]):
    """What is measured of pairs, and how.

    Args:
        model: an open model.
        batch: pairs that share a pass.
    """

    #: What this is called, in a folder and by a bar.
    name = ""
    #: Cells that a piece has at most, or nearly.
    most = 256

    def __init__(self, model: HookedVLM, batch: int = 1):
        super().__init__(model)
        self.batch = batch
        self.most = type(self).most  # its own, so that it goes where this is sent

    @abstractmethod
    def tables(self, piece: Piece) -> Sequence[xr.Dataset]:
        """What is measured of a piece: a table of every pair, with the scores of its two runs."""

    @abstractmethod
    def labelled(self, both: Both, plan: Plan, tables: Sequence[xr.Dataset]) -> Made:
        """What all pieces of a pair make."""

    def plan(self, both: Both) -> Plan:
        """What there is to do of a pair, before any pass."""
        return Plan()

    def restores(self, both: Both) -> bool:
        """Whether what is measured is a share of what the whole corruption does."""
        return False

    def refuse(self, both: Both, table: xr.Dataset) -> None:
        """Refuse a pair of which nothing is to be restored.

        Raises:
            InputError: the two runs score alike, and effects are to be shares of the difference.
        """
        top, floor = (float(table[name]) for name in ("clean", "base"))
        if self.restores(both) and np.isclose(top, floor, rtol=1e-4, atol=1e-5):
            raise InputError(
                f"{both[0].question!r}: the clean and the corrupted run score alike, {top:.4g}, "
                "so there is nothing to restore; normalized=False"
            )

    def steps(self, task: Piece) -> Iterator[Cells]:
        """A piece, pair by pair; each by itself, where they fail together."""
        try:
            tables = self.tables(task)
        except EVERYBODYS:
            raise
        except Exception as error:  # whatever a picture, a processor or a score stumbles over
            traceback.clear_frames(error.__traceback__)  # they hold what the passes had made
            for number, both in task.pairs.items():
                if len(task.pairs) == 1:
                    yield Cells(task, number, error=error)
                else:
                    yield from self.steps(replace(task, pairs={number: both}))
        else:
            for (number, both), table in zip(task.pairs.items(), tables, strict=True):
                yield self._checked(task, number, both, table)

    def _checked(self, piece: Piece, number: int, both: Both, table: xr.Dataset) -> Cells:
        try:
            self.refuse(both, table)
        except InputError as error:
            return Cells(piece, number, error=error)
        return Cells(piece, number, table)


class CellWork(PairWork[xr.DataArray]):
    """What is measured of one pair at a time, in pieces that begin with the same runs."""

    def __init__(self, model: HookedVLM):
        super().__init__(model)
        self._first: tuple[Both, Any] | None = None
        self._own: tuple[Both, Any] | None = None

    @abstractmethod
    def runs(self, both: Both, first: Any | None) -> Any:
        """What every piece of a pair begins with: its passes.

        Args:
            both: the pair.
            first: the same of the first pair about these pictures; None for that one, and where it
                has none because it fails.
        """

    @abstractmethod
    def cells(self, both: Both, runs: Any, number: int) -> xr.Dataset:
        """The cells of a piece."""

    def tables(self, piece: Piece) -> Sequence[xr.Dataset]:
        """The cells of a piece; the runs of its pair are kept for the next one."""
        (both,) = piece.pairs.values()
        first = self._of_first(piece.first)
        if both is not piece.first:
            runs = self._of_own(both, None if isinstance(first, Exception) else first)
        elif isinstance(first, Exception):
            raise first
        else:
            runs = first
        return [self.cells(both, runs, piece.number)]

    def _of_first(self, first: Both) -> Any:
        """The runs that others begin with, or what they fail of, which its own piece says."""
        if self._first is None or self._first[0] is not first:
            self._first = self._own = None  # memory holds those of one picture
            try:
                made = self.runs(first, None)
            except EVERYBODYS:
                raise
            except Exception as error:
                traceback.clear_frames(error.__traceback__)
                made = error
            self._first = first, made
        return self._first[1]

    def _of_own(self, both: Both, first: Any | None) -> Any:
        if self._own is None or self._own[0] is not both:
            self._own = None
            self._own = both, self.runs(both, first)
        return self._own[1]

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_first": None, "_own": None}
