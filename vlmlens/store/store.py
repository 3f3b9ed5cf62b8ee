"""Store: which results are done, and what they are."""

import itertools
import logging
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xarray as xr
from jaxtyping import Bool

from vlmlens.errors import DataError
from vlmlens.store.atomic import make, sweep_parts, unwritable
from vlmlens.store.rows import canonical, put_together, taken_apart
from vlmlens.store.shards import KEYS, NAMES, Rows, Shard, as_keys, opened, written

T = TypeVar("T")
LOG = logging.getLogger(__name__)
#: Seconds, and rows, that are written at once at most: what a kill can cost.
SECONDS, ROWS = 2.0, 4096
#: So many small files become one; files of so many bytes stay as they are.
TOGETHER, LARGE = 16, 32 * 2**20
#: Results of vlmlens 0.3 and before, a file each.
OLD = re.compile(r"[0-9a-f]{24}\.nc")
#: Listings of a folder in which files of another process may be put together meanwhile.
TRIES = 8


@dataclass(frozen=True)
class Condition:
    """Everything that decides over a sample's result but the sample.

    Attributes:
        key: its hash.
        told: what it is, in words: model, measure, edits, versions.
    """

    key: str
    told: Mapping[str, Any] = field(default_factory=dict)


class Store:
    """A folder of finished results, one a sample and condition.

    Rows are gathered and written as Parquet files that say in their footers what they hold, and
    in their names their own checksums. Several processes may write into one folder: each writes
    files of its own, and a result that is there twice is read once.

    Args:
        folder: where; made by ``open``.

    Examples:
        >>> import xarray as xr
        >>> from pathlib import Path
        >>> from vlmlens.store import Condition
        >>> store, condition = vl.experiments.Store(Path("results")), Condition("a1b2")
        >>> store.open()
        ''
        >>> table = xr.Dataset({"correct": ("sample", [1.0, 0.0])})
        >>> store.add(condition, [bytes(12), bytes([1] * 12)], ["q0", "q1"], table)
        >>> store.flush()
        >>> store.refresh()  # nobody else wrote anything
        []
        >>> found = store.read({"mine": ("a1b2", [bytes([1] * 12)])})["mine"]
        >>> [(places, table.correct.values.tolist()) for places, table in found]
        [([0], [0.0])]
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.shards: dict[str, Shard] = {}
        self._said: dict[str, tuple[int, ...]] = {}
        self._waiting: dict[tuple[str, bool], Rows] = {}
        self._rows, self._bytes, self._since = 0, 0, 0.0
        self._mine: set[str] = set()
        self._also: dict[str, list[str]] = {}
        self._written: defaultdict[tuple[str, int], list[Path]] = defaultdict(list)

    def open(self) -> str:
        """Make the folder, clear away what broken-off runs left, and look at what is there.

        Returns:
            "", or why nothing can be written into it, though what is there can be read.

        Raises:
            DataError: there can be no such folder.
        """
        make(self.folder)
        reason = unwritable(self.folder)
        if not reason:
            sweep_parts(self.folder)
        self.refresh()
        if old := [path.name for path in self.folder.glob("*.nc") if OLD.fullmatch(path.name)]:
            LOG.warning(
                "%s holds %d results of vlmlens 0.3 or before (%s ...), which are not read: what "
                "they answer for is computed again; vlmlens gc removes them",
                *(self.folder, len(old), old[0]),
            )
        return reason

    def refresh(self) -> list[Shard]:
        """Look for files that were not there before, and give those that others wrote."""
        there = {path.name: path for path in self.folder.glob(NAMES)}
        for name in ({*self.shards} | self._mine) - set(
            there
        ):  # not listed, and there all the same
            if (self.folder / name).exists():
                there[name] = self.folder / name
        self.shards = {name: shard for name, shard in self.shards.items() if name in there}
        new = []
        for name in sorted(set(there) - set(self.shards)):
            try:
                state = there[name].stat()
            except FileNotFoundError:  # put together with others just now
                continue
            now = state.st_ino, state.st_size, state.st_mtime_ns
            if self._said.get(name) == now:
                continue
            try:
                self.shards[name] = opened(there[name])
                new += [] if name in self._mine else [self.shards[name]]
            except FileNotFoundError:
                continue
            except DataError as error:
                self._said[name] = now
                LOG.warning("%s; it counts as missing", error)
        return new

    def also(self, condition: str, others: Iterable[str]) -> None:
        """Read results under other conditions, too, where there are none under this one."""
        self._also[condition] = list(others)

    def has(
        self,
        condition: str,
        keys: Sequence[bytes] | pa.Array,
        among: Iterable[Shard] | None = None,
    ) -> Bool[np.ndarray, " sample"]:
        """Which samples have a finished result under a condition, in some files or in all."""
        known = [
            shard.keys_of(each)
            for shard in (self.shards.values() if among is None else among)
            for each in (condition, *self._also.get(condition, ()))
            if not shard.failed
        ]
        found = pc.is_in(as_keys(keys), value_set=pa.chunked_array(known, KEYS))
        return found.to_numpy(zero_copy_only=False)

    def read(
        self, wanted: Mapping[T, tuple[str, Sequence[bytes] | pa.Array]]
    ) -> dict[T, list[tuple[list[int], xr.Dataset]]]:
        """Finished results.

        Args:
            wanted: by any name, a condition and samples' keys.

        Returns:
            By the same names, tables and the places of their samples among the keys; several where
            rows differ in form. What is not there is left out.
        """
        for _ in range(TRIES):
            try:
                return self._read(wanted)
            except FileNotFoundError:
                time.sleep(0.05)
                self.refresh()
        raise DataError(f"files of {self.folder} vanish as they are read; run again")

    def add(
        self, condition: Condition, keys: Sequence[bytes], ids: Sequence[str], table: xr.Dataset
    ) -> None:
        """Keep some samples' results; they are on the disk after ``flush``.

        Raises:
            DataError: values that no file holds.
        """
        self._add(condition, keys, ids, table, failed=False)

    def add_failed(self, condition: Condition, key: bytes, name: str, error: str) -> None:
        """Keep what a sample failed of, for ``vlmlens status``: it counts as missing."""
        table = xr.Dataset({"error": ("sample", [error])})
        self._add(condition, [key], [name], table, failed=True)

    def _add(
        self,
        condition: Condition,
        keys: Sequence[bytes],
        ids: Sequence[str],
        table: xr.Dataset,
        *,
        failed: bool,
    ) -> None:
        form, columns = taken_apart(canonical(table))
        rows = self._waiting.setdefault((form, failed), Rows(form, failed))
        rows.add(condition.key, condition.told, keys, ids, columns)
        if not self._rows:
            self._since = time.monotonic()
        self._rows += len(keys)
        self._bytes += sum(column.nbytes for column in columns.values())

    @property
    def due(self) -> bool:
        """Whether it is time to write what was added."""
        return bool(self._rows) and (
            self._rows >= ROWS or self._bytes >= LARGE or time.monotonic() - self._since >= SECONDS
        )

    def flush(self) -> None:
        """Write what was added.

        Raises:
            DataError: the disk is full, or the folder cannot be written into.
        """
        while self._waiting:
            which = next(iter(self._waiting))
            rows = self._waiting[which]
            self._own(which[0], 0, rows.write(self.folder))
            del self._waiting[which]
        self._rows = self._bytes = 0

    def close(self) -> None:
        """Write what is not written yet."""
        self.flush()

    def _own(self, form: str, level: int, path: Path) -> None:
        """Many small files of one form become a larger one, so that their number stays small."""
        self._mine.add(path.name)
        small = self._written[form, level]
        small.append(path)
        if len(small) >= TOGETHER and sum(each.stat().st_size for each in small) < LARGE:
            del self._written[form, level]
            self._mine -= {each.name for each in small}
            self._own(form, level + 1, put_into_one(list(map(opened, small))))

    def _read(
        self, wanted: Mapping[T, tuple[str, Sequence[bytes] | pa.Array]]
    ) -> dict[T, list[tuple[list[int], xr.Dataset]]]:
        asked = {name: (which, as_keys(keys)) for name, (which, keys) in wanted.items()}
        taken = {name: np.zeros(len(keys), dtype=bool) for name, (_, keys) in asked.items()}
        found: dict[T, dict[str, tuple[list[int], list[pa.Table]]]] = {n: {} for n in asked}
        under = {name: (which, *self._also.get(which, ())) for name, (which, _) in asked.items()}
        most = max(map(len, under.values()), default=0)
        for at_most, shard in itertools.product(range(most), self.shards.values()):
            if shard.failed:
                continue
            table = None
            for name, (_, keys) in asked.items():
                if at_most >= len(under[name]):
                    continue
                rows = np.where(taken[name], -1, shard.rows(under[name][at_most], keys))
                at = np.flatnonzero(rows >= 0)
                if at.size:
                    table = shard.read() if table is None else table
                    taken[name][at] = True
                    places, tables = found[name].setdefault(shard.form, ([], []))
                    places += at.tolist()
                    tables.append(table.take(pa.array(rows[at])))
        return {
            name: sorted(
                (
                    _in_order([places[row] for row in rows], table)
                    for form, (places, tables) in forms.items()
                    for rows, table in put_together(form, pa.concat_tables(tables))
                ),
                key=lambda part: part[0][0],
            )
            for name, forms in found.items()
        }


def _in_order(places: list[int], table: xr.Dataset) -> tuple[list[int], xr.Dataset]:
    order = np.argsort(places)
    return [places[at] for at in order], table.isel(sample=order)


def put_into_one(shards: Sequence[Shard], tables: Iterable[pa.Table] | None = None) -> Path:
    """Several files of one form as one, in place of them.

    Args:
        shards: the files.
        tables: the rows of them that are kept; by default all.
    """
    first, conditions = shards[0], {k: v for s in shards for k, v in s.conditions.items()}
    kept = (shard.read() for shard in shards) if tables is None else iter(tables)
    path = written(first.path.parent, kept, first.form, conditions, failed=first.failed)
    for shard in shards:
        if shard.path != path:
            shard.path.unlink(missing_ok=True)
    return path
