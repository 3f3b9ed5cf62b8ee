"""Running what is measured of pairs: whoever computes it, the map is the same."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

import xarray as xr

from vlmlens.errors import InputError
from vlmlens.experiments.effect_maps import joined
from vlmlens.experiments.executors import Executor, Shard, as_executor
from vlmlens.experiments.failing import Failing
from vlmlens.experiments.given import as_folder, as_samples
from vlmlens.experiments.keys import Keys
from vlmlens.experiments.pairs.counting import Count
from vlmlens.experiments.pairs.found import Found, FoundInFolder
from vlmlens.experiments.pairs.maps import keep_map
from vlmlens.experiments.pairs.pieces import Both, Made, PairWork, Piece, Plan
from vlmlens.experiments.progress import Progress, telling
from vlmlens.identity import unit
from vlmlens.sample import Sample


@dataclass(frozen=True)
class How:
    """How pairs are run, as users say it.

    Attributes:
        folder: keeps what is done.
        executor: who computes.
        progress: shows, or is told of, what is done.
        max_failed: how many pairs may fail.
    """

    folder: Path | str | None
    executor: Executor
    progress: Progress
    max_failed: int | float


@dataclass(frozen=True, eq=False)
class Measured(Generic[Made]):
    """Pairs that could be measured.

    Attributes:
        names: what results call them.
        made: what came of each.
        attrs: what a table says of those that failed.
    """

    names: Sequence[str | int]
    made: list[Made]
    attrs: dict[str, str]


def as_pairs(
    clean: Sample | Sequence[Sample], corrupted: Sample | Sequence[Sample] | None
) -> list[Both]:
    """Every clean sample with its counterpart.

    Raises:
        InputError: not one each.
    """
    first = _several(clean, "clean")
    if corrupted is None:
        return [(one, None) for one in first]
    second = _several(corrupted, "corrupted")
    if len(second) != len(first):
        raise InputError(f"{len(first)} clean samples and {len(second)} corrupted: one each")
    return list(zip(first, second, strict=True))


def over_pairs(work: PairWork[Made], pairs: Sequence[Both], how: How) -> Measured[Made]:
    """Measure pairs, those of the executor's share.

    A pair that cannot be measured is left out, by name; the others stay in their batches, and begin
    with the runs that they would begin with.

    Args:
        work: what is measured.
        pairs: all of them.
        how: who computes, where it is kept, who is told.

    Raises:
        InputError: an executor, or a progress, that is none.
        DataError: a folder that cannot be written into; more pairs failed than may.
        VLMLensError: what all pairs fail of.
    """
    engine, names = as_executor(how.executor), _named(pairs)
    batches = [tuple(rows) for rows in engine.batches(len(pairs), work.batch)]
    failing = Failing([str(name) for name in names], how.max_failed, sum(map(len, batches)))
    with work.model.reuse(), closing(_found(work, how.folder)) as found:
        plans = _planned(work, found, pairs, batches, failing)
        pieces = list(_cut(pairs, batches, plans))
        with telling(how.progress, work.name) as tell:
            count = Count(tell, failing, {number: plan.sizes for number, plan in plans.items()})
            left = found.left(pieces, [failing.names[number] for number in failing.errors])
            count.start(left)
            for step in engine.steps(work, found.claimed(_going(left, failing))):
                found.take(step, failing.names[step.pair])
                count.take(step)
            made = _made(work, found, pairs, plans, failing, count)
            failing.tell()
            count.finish()
    return Measured([names[number] for number in made], list(made.values()), failing.attrs())


def over_maps(work: PairWork[xr.DataArray], pairs: Sequence[Both], how: How) -> xr.DataArray:
    """Measure pairs, as one map over ``sample``.

    Raises:
        VLMLensError: as ``over_pairs``; what is measured of them cannot be one map.
    """
    found = over_pairs(work, pairs, how)
    table = joined(found.made, found.names)
    if how.folder is not None and not isinstance(how.executor, Shard):
        keep_map(table, as_folder(how.folder))
    return table.assign_attrs(found.attrs)


def _planned(
    work: PairWork[Made],
    found: Found,
    pairs: Sequence[Both],
    batches: Sequence[Sequence[int]],
    failing: Failing,
) -> dict[int, Plan]:
    """What there is to do of every pair that can be looked at."""
    plans = {}
    for number in (number for rows in batches for number in rows):
        try:
            found.look(number, pairs[number])
            plans[number] = work.plan(pairs[number])
        except Exception as error:  # whatever opening or drawing a picture stumbles over
            failing.add(number, error)
    return plans


def _cut(
    pairs: Sequence[Both], batches: Sequence[Sequence[int]], plans: Mapping[int, Plan]
) -> Iterator[Piece]:
    """The pieces of every batch."""
    firsts = _firsts(pairs)
    for rows in batches:
        own = [number for number in rows if number in plans]
        for at in range(max((len(plans[number].sizes) for number in own), default=0)):
            some = tuple(number for number in own if at < len(plans[number].sizes))
            yield Piece(at, {number: pairs[number] for number in some}, firsts[rows[0]], some)


def _going(pieces: Iterable[Piece], failing: Failing) -> Iterator[Piece]:
    """The pieces, when it comes to them, without pairs that failed by then."""
    for piece in pieces:
        if (rest := piece.without(failing.errors)).pairs:
            yield rest


def _made(
    work: PairWork[Made],
    found: Found,
    pairs: Sequence[Both],
    plans: Mapping[int, Plan],
    failing: Failing,
    count: Count,
) -> dict[int, Made]:
    """What came of every pair that did not fail."""
    wanted = [
        (number, at)
        for number, plan in plans.items()
        if number not in failing.errors
        for at in range(len(plan.sizes))
    ]
    tables: dict[int, list[xr.Dataset]] = {}
    for (number, _), table in zip(wanted, found.tables(wanted), strict=True):
        tables.setdefault(number, []).append(table)
    made = {}
    for number, own in tables.items():
        try:
            work.refuse(pairs[number], own[0])  # what was kept where effects were no shares
            made[number] = work.labelled(pairs[number], plans[number], own)
        except Exception as error:  # as before: a picture that is gone by now
            count.lose(number, error)
    return made


def _found(work: PairWork[Made], folder: Path | str | None) -> Found:
    if folder is None:
        return Found()
    return FoundInFolder(folder, Keys(work.model, *work.how), work.name, work.most)


def _firsts(pairs: Sequence[Both]) -> list[Both]:
    """Of every pair, the first of those about the same pictures that come one after the other."""
    found: list[Both] = []
    before: list[str] = []
    for pair in pairs:
        try:
            seen = [unit(sample) for sample in pair if sample is not None]
        except Exception:  # a picture that cannot be read: what is looked at next says so
            seen = []
        found.append(found[-1] if seen and seen == before else pair)
        before = seen
    return found


def _named(pairs: Sequence[Both]) -> Sequence[str | int]:
    """What results call pairs: by the sample that is edited, or by number where two are alike."""
    edited = [corrupted or clean for clean, corrupted in pairs]
    names = [sample.id or sample.question for sample in edited]
    return names if len(set(names)) == len(names) else list(range(len(names)))


def _several(given: Sample | Sequence[Sample], what: str) -> tuple[Sample, ...]:
    return (given,) if isinstance(given, Sample) else as_samples(given, what)
