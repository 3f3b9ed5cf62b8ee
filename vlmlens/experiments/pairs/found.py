"""Pieces that are done, in memory or in a folder."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from vlmlens.errors import DataError
from vlmlens.experiments.given import as_folder
from vlmlens.experiments.keys import Keys
from vlmlens.experiments.pairs.pieces import Cells, Piece
from vlmlens.experiments.turns import in_turn
from vlmlens.identity import digest
from vlmlens.store import Claims, Condition, Running, Shard, Store, note


class Found:
    """Pieces as they come, in memory."""

    def __init__(self):
        self._tables: dict[tuple[int, int], xr.Dataset] = {}

    def left(self, pieces: Sequence[Piece]) -> list[Piece]:
        """The pieces that are not done."""
        return list(pieces)

    def claimed(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """The pieces that this process is to do, when it comes to do them."""
        return iter(pieces)

    def take(self, cells: Cells) -> None:
        """Keep what was finished."""
        self._tables[cells.piece.pair, cells.piece.number] = cells.table

    def tables(self, pieces: Sequence[Piece]) -> list[xr.Dataset]:
        """What came of some pieces, in their order."""
        return [self._tables[piece.pair, piece.number] for piece in pieces]

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
        self._ended: list[Piece] = []

    def left(self, pieces: Sequence[Piece]) -> list[Piece]:
        """The pieces that are not there; all of them are noted down as asked for."""
        by_number: dict[int, list[Piece]] = {}
        for piece in pieces:
            by_number.setdefault(piece.number, []).append(piece)
        asked, done = {}, set()
        for number, some in by_number.items():
            condition, keys = self._condition(number), [self._key(piece) for piece in some]
            asked[condition.key] = (condition.told, keys)
            there = self._store.has(condition.key, keys)
            done |= {id(some[at]) for at in np.flatnonzero(there)}
        note(self._store.folder, asked, [])
        return [piece for piece in pieces if id(piece) not in done]

    def claimed(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """The pieces that no other process is doing, when it comes to do them."""
        for piece in in_turn(pieces, lambda p: self._claims.take(self._claim(p)), self._write):
            self._later += self._store.refresh()
            condition, key = self._condition(piece.number), self._key(piece)
            if not self._store.has(condition.key, [key], self._later)[0]:
                yield piece

    def take(self, cells: Cells) -> None:
        """Keep what was finished, and write it when it is time."""
        piece = cells.piece
        one, _ = piece.both
        row = cells.table.expand_dims("sample")
        name = one.id or one.question
        self._store.add(self._condition(piece.number), [self._key(piece)], [name], row)
        self._ended.append(piece)
        if self._store.due:
            self._write()

    def tables(self, pieces: Sequence[Piece]) -> list[xr.Dataset]:
        """What is read back of some pieces, in their order.

        Raises:
            DataError: somebody took results away meanwhile.
        """
        self._write()
        self._store.refresh()
        asked: dict[int, list[int]] = {}
        for at, piece in enumerate(pieces):
            asked.setdefault(piece.number, []).append(at)
        wanted = {
            number: (self._condition(number).key, [self._key(pieces[at]) for at in some])
            for number, some in asked.items()
        }
        found: dict[int, xr.Dataset] = {}
        for number, parts in self._store.read(wanted).items():
            for places, table in parts:
                rows = enumerate(places)
                found |= {asked[number][place]: table.isel(sample=row) for row, place in rows}
        if len(found) < len(pieces):
            raise DataError(
                f"{len(pieces) - len(found)} finished results are gone from {self._store.folder}: "
                "run again, and they are computed anew"
            )
        return [found[at] for at in range(len(pieces))]

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

    def _key(self, piece: Piece) -> bytes:
        if piece.pair not in self._pairs:
            self._pairs[piece.pair] = self._keys.of(piece.both)
        return self._pairs[piece.pair]

    def _claim(self, piece: Piece) -> str:
        return digest(self._condition(piece.number).key.encode(), self._key(piece))

    def _write(self) -> None:
        self._store.flush()
        self._claims.give_back(map(self._claim, self._ended))
        self._ended.clear()
