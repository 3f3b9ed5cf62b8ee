"""Pieces that are done, in memory or in a folder."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from vlmlens.errors import DataError
from vlmlens.experiments.failing import said
from vlmlens.experiments.given import as_folder
from vlmlens.experiments.keys import Keys
from vlmlens.experiments.pairs.pieces import Both, Cells, Piece
from vlmlens.experiments.turns import in_turn
from vlmlens.identity import digest
from vlmlens.store import Claims, Condition, Running, Shard, Store, note
from vlmlens.store.late import settle


class Found:
    """Pieces as they come, in memory: tables by the numbers of the pair and of the piece."""

    def __init__(self):
        self._tables: dict[tuple[int, int], xr.Dataset] = {}

    def look(self, number: int, both: Both) -> None:
        """Look at a pair, before anything is computed.

        Raises:
            Exception: whatever opening or drawing its pictures stumbles over.
        """

    def left(self, pieces: Sequence[Piece], unread: Sequence[str]) -> list[Piece]:
        """What is not done of the pieces.

        Args:
            pieces: all that are asked for.
            unread: names of pairs that there are no pieces of.
        """
        return list(pieces)

    def claimed(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """The pieces that this process is to do, when it comes to do them."""
        return iter(pieces)

    def take(self, cells: Cells, name: str) -> None:
        """Keep what was finished of a pair of this name."""
        if cells.table is not None:
            self._tables[cells.pair, cells.piece.number] = cells.table

    def tables(self, wanted: Sequence[tuple[int, int]]) -> list[xr.Dataset]:
        """What came of some pairs' pieces, in their order."""
        return [self._tables[which] for which in wanted]

    def close(self) -> None:
        """Nothing more comes."""


class FoundInFolder(Found):
    """Pieces as they come, in a folder: a row is a pair and a piece.

    Args:
        folder: where.
        keys: of the model and of what is measured.
        name: what is measured, for people.
        most: cells that a piece has at most.

    Raises:
        DataError: a folder that cannot be, or cannot be written into.
    """

    def __init__(self, folder: Path | str, keys: Keys, name: str, most: int):
        super().__init__()
        self._store, self._keys = Store(as_folder(folder)), keys
        self._name, self._most = name, most
        if barred := self._store.open():
            raise DataError(f"{barred}; name another folder")
        self._chunks: dict[int, tuple[str, int, int]] = {}
        self._pairs: dict[int, bytes] = {}
        self._claims, self._running = Claims(self._store.folder), Running(self._store.folder)
        self._later: list[Shard] = []
        self._going: dict[str, set[int]] = {}
        self._ended: list[str] = []

    def look(self, number: int, both: Both) -> None:
        """Look at a pair, before anything is computed.

        Raises:
            Exception: whatever opening or drawing its pictures stumbles over.
        """
        self._pairs[number] = self._keys.of(both)

    def left(self, pieces: Sequence[Piece], unread: Sequence[str]) -> list[Piece]:
        """What is not there of the pieces; all of them are noted down as asked for."""
        by_number: dict[int, list[int]] = {}
        for piece in pieces:
            by_number.setdefault(piece.number, []).extend(piece.pairs)
        asked, done = {}, {}
        for number, pairs in by_number.items():
            condition, keys = self._condition(number), [self._pairs[pair] for pair in pairs]
            asked[condition.key] = (condition.told, keys)
            there = self._store.has(condition.key, keys)
            done[number] = {pairs[at] for at in np.flatnonzero(there)}
        note(self._store.folder, asked, unread)
        left = [piece.without(done[piece.number]) for piece in pieces]
        return [piece for piece in left if piece.pairs]

    def claimed(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """The pieces that no other process is doing, when it comes to do them."""
        for piece in in_turn(pieces, lambda p: self._claims.take(self._claim(p)), self._write):
            self._later += self._store.refresh()
            condition, pairs = self._condition(piece.number), list(piece.pairs)
            keys = [self._pairs[pair] for pair in pairs]
            there = self._store.has(condition.key, keys, self._later)
            piece = piece.without({pairs[at] for at in np.flatnonzero(there)})
            if piece.pairs:
                self._going[self._claim(piece)] = set(piece.pairs)
                yield piece

    def take(self, cells: Cells, name: str) -> None:
        """Keep what was finished, and write it when it is time."""
        condition, key = self._condition(cells.piece.number), self._pairs[cells.pair]
        if cells.error is not None:
            self._store.add_failed(condition, key, name, said(cells.error))
        elif cells.table is not None:
            self._store.add(condition, [key], [name], cells.table.expand_dims("sample"))
        claim = self._claim(cells.piece)
        self._going[claim].discard(cells.pair)
        if not self._going[claim]:
            del self._going[claim]
            self._ended.append(claim)
        if self._store.due:
            self._write()

    def tables(self, wanted: Sequence[tuple[int, int]]) -> list[xr.Dataset]:
        """What is read back of some pairs' pieces, in their order.

        Raises:
            DataError: somebody took results away meanwhile.
        """
        self._write()
        asked: dict[int, list[int]] = {}
        for at, (_, number) in enumerate(wanted):
            asked.setdefault(number, []).append(at)
        keys = {
            number: (self._condition(number).key, [self._pairs[wanted[at][0]] for at in some])
            for number, some in asked.items()
        }
        settle(self._store, dict(keys.values()))
        found: dict[int, xr.Dataset] = {}
        for number, parts in self._store.read(keys).items():
            for places, table in parts:
                rows = enumerate(places)
                found |= {asked[number][place]: table.isel(sample=row) for row, place in rows}
        if len(found) < len(wanted):
            raise DataError(
                f"{len(wanted) - len(found)} finished results are gone from {self._store.folder}: "
                "run again, and they are computed anew"
            )
        return [found[at] for at in range(len(wanted))]

    def close(self) -> None:
        """Write what is not written yet, and let others have what is left."""
        try:
            self._write()
        finally:
            self._claims.close()
            self._running.close()

    def _condition(self, number: int) -> Condition:
        chunk = self._chunks.setdefault(number, ("cells", number, self._most))
        return self._keys.condition(chunk, self._name)

    def _claim(self, piece: Piece) -> str:
        keys = [self._pairs[pair] for pair in piece.batch]
        return digest(self._condition(piece.number).key.encode(), *keys)

    def _write(self) -> None:
        self._store.flush()
        self._claims.give_back(self._ended)
        self._ended.clear()
