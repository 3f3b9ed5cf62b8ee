"""Running what is measured of pairs: whoever computes it, the map is the same."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import xarray as xr

from vlmlens.errors import InputError
from vlmlens.experiments.effect_maps import joined
from vlmlens.experiments.executors import Executor, as_executor
from vlmlens.experiments.given import as_samples
from vlmlens.experiments.keys import Keys
from vlmlens.experiments.pairs.found import Found, FoundInFolder
from vlmlens.experiments.pairs.pieces import Both, PairWork, Piece
from vlmlens.experiments.progress import Event, Progress, telling
from vlmlens.identity import unit
from vlmlens.sample import Sample


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


def over_pairs(
    work: PairWork,
    pairs: Sequence[Both],
    folder: Path | str | None,
    executor: Executor,
    progress: Progress,
) -> xr.DataArray:
    """Measure pairs, those of the executor's share, as one map over ``sample``.

    Args:
        work: what is measured.
        pairs: all of them.
        folder: keeps what is done.
        executor: who computes.
        progress: shows, or is told of, cells that are done.

    Raises:
        InputError: an executor, or a progress, that is none.
        DataError: a folder that cannot be written into.
    """
    engine = as_executor(executor)
    own = engine.share(range(len(pairs)))
    first = _firsts(pairs)
    with work.model.reuse(), closing(_found(work, folder)) as found:
        plans = {number: work.plan(pairs[number]) for number in own}
        pieces = {
            number: [
                Piece(number, at, pairs[number], first[number]) for at in range(len(plan.sizes))
            ]
            for number, plan in plans.items()
        }
        left = found.left([piece for every in pieces.values() for piece in every])
        total = sum(sum(plan.sizes) for plan in plans.values())
        done = total - sum(plans[piece.pair].sizes[piece.number] for piece in left)
        with telling(progress, work.name) as tell:
            tell(Event("started", done, total=total))
            for step in engine.steps(work, found.claimed(left)):
                found.take(step)
                done += plans[step.piece.pair].sizes[step.piece.number]
                tell(Event("done", done, total=total))
            tell(Event("finished", total, total=total))
        tables = iter(found.tables([piece for every in pieces.values() for piece in every]))
        return joined(
            [
                work.labelled(pairs[number], plan, [next(tables) for _ in plan.sizes])
                for number, plan in plans.items()
            ]
        )


def _found(work: PairWork, folder: Path | str | None) -> Found:
    if folder is None:
        return Found()
    return FoundInFolder(folder, Keys(work.model, *work.how), work.name, work.most)


def _firsts(pairs: Sequence[Both]) -> list[Both]:
    """Of every pair, the first of those about the same pictures that come one after the other."""
    found: list[Both] = []
    before: list[str] = []
    for pair in pairs:
        seen = [unit(sample) for sample in pair if sample is not None]
        found.append(found[-1] if seen == before else pair)
        before = seen
    return found


def _several(given: Sample | Sequence[Sample], what: str) -> tuple[Sample, ...]:
    return (given,) if isinstance(given, Sample) else as_samples(given, what)
