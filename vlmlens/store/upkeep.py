"""Looking after a store: what it holds, putting stores together, tidying."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from vlmlens.errors import DataError
from vlmlens.store.asked import NAMES as ASKED
from vlmlens.store.asked import Asked, noted, running
from vlmlens.store.atomic import sweep_parts, whole
from vlmlens.store.shards import CONDITION, KEY, KEYS, NAMES, SAMPLE, Shard, checked, opened
from vlmlens.store.store import LARGE, OLD, put_into_one


@dataclass
class Count:
    """How far one condition is.

    Attributes:
        told: what the condition is: label, model, measure, edits, versions.
        asked: samples that runs were asked for.
        done: of these, or where nobody wrote down what was asked, all that are there.
        failed: of these.
    """

    told: dict[str, Any]
    asked: int = 0
    done: int = 0
    failed: int = 0

    @property
    def left(self) -> int:
        """Samples that are neither done nor have failed."""
        return max(self.asked - self.done - self.failed, 0)


@dataclass
class Status:
    """What a store holds.

    Attributes:
        conditions: how far each is, by its key.
        failures: names of samples and what they failed of, of those that are not done.
        unread: names of samples whose pictures could not be read.
        files: of results.
        bytes: their sizes.
        damaged: files that count as missing, and why.
        running: who writes now.
    """

    conditions: dict[str, Count] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    files: int = 0
    bytes: int = 0
    damaged: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)


def status(folder: Path) -> Status:
    """What a store holds: done, failed and left of every condition, sizes, versions, writers.

    Raises:
        DataError: there is no store.
    """
    found = Status(running=list(running(existing(folder))))
    shards = list(shards_of(folder, found.damaged))
    asked = list(_asked(folder, found.damaged))
    found.files, found.bytes = len(shards), sum(shard.bytes for shard in shards)
    found.unread = sorted({name for each in asked for name in each.unread})
    told: dict[str, Any] = {}
    for each in [*shards, *asked]:
        told |= each.conditions
    for condition, what in told.items():
        done = _keys(condition, (shard for shard in shards if not shard.failed))
        failed = _keys(condition, (shard for shard in shards if shard.failed))
        wanted = [each.keys for each in asked if condition in each.conditions]
        keys = pc.unique(pa.concat_arrays(wanted)) if wanted else done
        is_done = pc.is_in(keys, value_set=done).to_numpy(zero_copy_only=False)
        has_failed = pc.is_in(keys, value_set=failed).to_numpy(zero_copy_only=False)
        found.conditions[condition] = Count(
            dict(what), len(keys), int(is_done.sum()), int((has_failed & ~is_done).sum())
        )
        found.failures |= _failures(condition, shards, done)
    return found


def merge(into: Path, others: Sequence[Path]) -> int:
    """Bring other stores' results into one; each file is checked on its way.

    Returns:
        How many files were brought.

    Raises:
        DataError: no store, a damaged file, or no room.
    """
    into.mkdir(parents=True, exist_ok=True)
    count = 0
    for other in others:
        for kind in (NAMES, ASKED):
            for path in sorted(existing(other).glob(kind)):
                checked(path, kind.partition("-")[0])
                target = into / path.name
                if not target.exists():
                    data = path.read_bytes()
                    whole(target, lambda part, data=data: part.write_bytes(data))
                    count += 1
    return count


def gc(folder: Path) -> dict[str, int]:
    """Put small files together, drop what is there twice, and remove what counts as missing.

    Removed are damaged files, results of vlmlens 0.3, what broken-off runs left half written, and
    what was said of samples that failed and are done by now.

    Returns:
        How many files there were and are, and how many of what was removed.

    Raises:
        DataError: no store; a run is writing into it; no room.
    """
    if busy := list(running(existing(folder))):
        raise DataError(f"{folder} is being written into ({busy[0]}): tidy it when that has ended")
    sweep_parts(folder)
    damaged: list[Path] = []
    shards: list[Shard] = []
    for path in sorted(folder.glob(NAMES)):
        try:
            shards.append(opened(path))
        except DataError:
            damaged.append(path)
    old = [path for path in folder.glob("*.nc") if OLD.fullmatch(path.name)]
    groups: defaultdict[tuple[str, bool], list[Shard]] = defaultdict(list)
    for shard in shards:
        groups[shard.form, shard.failed].append(shard)
    done = [shard for shard in shards if not shard.failed]
    rows = 0
    for (_, failed), group in groups.items():
        rows += _tidied(group, done if failed else [])
    for path in [*damaged, *old]:
        path.unlink(missing_ok=True)
    return {
        "files before": len(shards) + len(damaged) + len(old),
        "files": len(list(folder.glob(NAMES))),
        "damaged files": len(damaged),
        "results of vlmlens 0.3": len(old),
        "rows there twice": rows,
    }


def existing(folder: Path) -> Path:
    """A store's folder.

    Raises:
        DataError: there is none.
    """
    if not folder.is_dir():
        raise DataError(f"there is no store {folder}: it is a folder that results are kept in")
    if not any(folder.glob(NAMES)) and not any(folder.glob(ASKED)):
        inside = sorted({str(path.parent) for path in folder.rglob(NAMES)})
        raise DataError(
            f"{folder} is no store: it holds no files results-*.parquet"
            + (f"; {', '.join(inside[:3])} does" if inside else "")
        )
    return folder


def shards_of(folder: Path, damaged: list[str]) -> Iterator[Shard]:
    """The files of a store that are whole; of the others, why they are not."""
    for path in sorted(existing(folder).glob(NAMES)):
        try:
            yield opened(path)
        except DataError as error:
            damaged.append(str(error))


def _asked(folder: Path, damaged: list[str]) -> Iterator[Asked]:
    for path in sorted(folder.glob(ASKED)):
        try:
            yield noted(path)
        except DataError as error:
            damaged.append(str(error))


def _keys(condition: str, shards: Iterator[Shard]) -> pa.Array:
    return pa.concat_arrays([pa.array([], KEYS), *(s.keys_of(condition) for s in shards)])


def _failures(condition: str, shards: Sequence[Shard], done: pa.Array) -> dict[str, str]:
    found: dict[str, str] = {}
    for shard in shards:
        if shard.failed and condition in shard.order:
            table = shard.read()
            own = pc.and_(
                pc.equal(table[CONDITION].cast(pa.string()), condition),
                pc.invert(pc.is_in(table[KEY], value_set=done)),
            )
            table = table.filter(own)
            found |= dict(zip(table[SAMPLE].to_pylist(), table["error"].to_pylist(), strict=True))
    return found


def first_of_each(table: pa.Table, known: set[tuple[str, bytes]]) -> pa.Table:
    """The rows that were not met before."""
    pairs = zip(table[CONDITION].to_pylist(), table[KEY].to_pylist(), strict=True)
    fresh = []
    for at, pair in enumerate(pairs):
        if pair not in known:
            known.add(pair)
            fresh.append(at)
    return table if len(fresh) == len(table) else table.take(pa.array(fresh, pa.int64()))


def _tidied(group: Sequence[Shard], done: Sequence[Shard]) -> int:
    """Small files of one form as larger ones, in place of them; how many rows went."""
    known: set[tuple[str, bytes]] = set()
    for shard in done:
        codes = [shard.order[int(code)] for code in shard.codes]
        pairs: Any = zip(codes, shard.keys.to_pylist(), strict=True)
        known |= set(pairs)
    lost = 0
    for some in _small_ones(group):
        tables = [first_of_each(shard.read(), known) for shard in some]
        own = sum(map(len, some)) - sum(map(len, tables))
        lost += own
        if len(some) == 1 and not own:
            continue
        if any(map(len, tables)):
            put_into_one(some, tables)
        else:
            for shard in some:
                shard.path.unlink(missing_ok=True)
    return lost


def _small_ones(group: Sequence[Shard]) -> Iterator[list[Shard]]:
    """Files that together are no larger than one may be, or one that is."""
    some: list[Shard] = []
    for shard in group:
        if some and sum(each.bytes for each in some) + shard.bytes > LARGE:
            yield some
            some = []
        some.append(shard)
    if some:
        yield some
