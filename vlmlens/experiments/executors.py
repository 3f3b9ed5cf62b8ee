"""Executors: who computes what is left of an experiment; all of them make the same table."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

from vlmlens.checks import shown, whole
from vlmlens.errors import InputError
from vlmlens.experiments.sent import Sent, Step, Task

T = TypeVar("T")


@runtime_checkable
class HasMap(Protocol):
    """Anything with ``map``: of ``concurrent.futures``, of MPI, of a cluster's own library."""

    def map(self, function: Callable[[Any], Any], items: Iterable[Any], /) -> Iterable[Any]:
        """What the function makes of every item, in any order."""
        ...


@dataclass(frozen=True)
class Local:
    """This process does everything, one batch after another.

    Examples:
        >>> look = vl.experiments.Probing(probes=(vl.probes.hidden_norms,))
        >>> experiment = vl.experiments.Experiment(model, samples, look)
        >>> table = experiment.run("results", executor=vl.experiments.Local())
        >>> table.sizes["sample"]
        4
    """

    def share(self, batches: Sequence[T]) -> Sequence[T]:
        """The batches that are computed here: all of them."""
        return batches

    def batches(self, count: int, batch: int) -> list[Sequence[int]]:
        """The numbers of the samples that are computed here, as they are cut into passes.

        Args:
            count: how many samples there are in all.
            batch: samples a pass.
        """
        starts = self.share(range(0, count, batch))
        return [range(start, min(start + batch, count)) for start in starts]

    def steps(self, work: Sent[Task, Step], tasks: Iterable[Task]) -> Iterator[Step]:
        """What is finished, as it is finished."""
        for task in tasks:
            yield from work.steps(task)


@dataclass(frozen=True)
class Shard(Local):
    """This process does every n-th batch, beginning with batch i; no server is needed.

    Batches are those of the whole experiment, so every pass is the same as if one process had done
    them all, and all conditions of a sample are computed in one process. Run with all of 0/n to
    n-1/n into one folder, and once more without a shard, which reads the whole table.

    Attributes:
        i: which share, from 0.
        n: how many there are.

    Raises:
        InputError: no such share.

    Examples:
        >>> look = vl.experiments.Probing(probes=(vl.probes.hidden_norms,))
        >>> experiment = vl.experiments.Experiment(model, samples, look, batch=1)
        >>> for i in range(2):
        ...     share = experiment.run("results", executor=vl.experiments.Shard(i, 2))
        >>> share["sample"].values.tolist() == [samples[1].id, samples[3].id]
        True
        >>> experiment.run("results").sizes["sample"]
        4
    """

    i: int
    n: int

    def __post_init__(self):
        whole(self.n, "n", least=1)
        whole(self.i, "i", 0, self.n - 1)

    @classmethod
    def of(cls, said: str, environment: Mapping[str, str] | None = None) -> "Shard":
        """A share by what is said on the command line: ``"2/8"``, or ``"auto"``.

        ``"auto"`` reads what Slurm's job arrays (``SLURM_ARRAY_TASK_ID``) or ``torchrun``
        (``RANK``, ``WORLD_SIZE``) tell their processes.

        Raises:
            InputError: anything else, or neither is there.

        Examples:
            >>> vl.experiments.Shard.of("2/8")
            Shard(i=2, n=8)
            >>> vl.experiments.Shard.of("auto", {"RANK": "1", "WORLD_SIZE": "4"})
            Shard(i=1, n=4)
        """
        if said != "auto":
            found = re.fullmatch(r"(\d+)/(\d+)", said)
            if not found:
                raise InputError(f"shard {said!r}: say i/n, counted from 0, such as 0/4; or auto")
            return cls(int(found[1]), int(found[2]))
        told = os.environ if environment is None else environment
        if "SLURM_ARRAY_TASK_ID" in told:
            return cls(*_slurm(told))
        if "RANK" in told and "WORLD_SIZE" in told:
            return cls(int(told["RANK"]), int(told["WORLD_SIZE"]))
        raise InputError(
            "shard auto: neither SLURM_ARRAY_TASK_ID nor RANK and WORLD_SIZE are set; say i/n"
        )

    def share(self, batches: Sequence[T]) -> Sequence[T]:
        """Every n-th batch, beginning with batch i.

        Raises:
            InputError: there are fewer batches than shares, and none is this one's.
        """
        own = batches[self.i :: self.n]
        if not own:
            raise InputError(
                f"shard {self.i}/{self.n}: there are {len(batches)} batches, and none is this "
                "shard's; use fewer shards, or smaller batches"
            )
        return own


@dataclass(frozen=True)
class Mapped(Local):
    """Somebody's own executor: whatever has ``map``.

    Attributes:
        inner: such as ``concurrent.futures.ProcessPoolExecutor``. Its workers open the model by
            its name; results come back here, where they are kept.
    """

    inner: HasMap

    def steps(self, work: Sent[Task, Step], tasks: Iterable[Task]) -> Iterator[Step]:
        """What is finished, as it is finished."""
        for steps in self.inner.map(work, tasks):
            yield from steps


@dataclass(frozen=True)
class Skipping(Local):
    """Another executor, of all samples but some; the others stay in the batches they are in.

    So a batch, and with it the last bits of its results, is the same whatever failed elsewhere.

    Attributes:
        inner: who computes.
        without: the numbers of the samples that are left out.
    """

    inner: Local
    without: frozenset[int]

    def share(self, batches: Sequence[T]) -> Sequence[T]:
        """The batches that are computed here."""
        return self.inner.share(batches)

    def batches(self, count: int, batch: int) -> list[Sequence[int]]:
        """The numbers of the samples that are computed here; a batch may have none left."""
        cut = self.inner.batches(count, batch)
        return [[row for row in rows if row not in self.without] for rows in cut]

    def steps(self, work: Sent[Task, Step], tasks: Iterable[Task]) -> Iterator[Step]:
        """What is finished, as it is finished."""
        return self.inner.steps(work, tasks)


#: What ``executor=`` takes: None is ``Local()``.
Executor: TypeAlias = Local | HasMap | None


def _slurm(told: Mapping[str, str]) -> tuple[int, int]:
    """Which task of a job array this is, from 0, and how many there are.

    Raises:
        InputError: the environment does not say how many.
    """
    task, count, first, step = (
        told.get(f"SLURM_ARRAY_TASK_{what}", otherwise)
        for what, otherwise in (("ID", ""), ("COUNT", ""), ("MIN", "0"), ("STEP", "1"))
    )
    try:
        return (int(task) - int(first)) // int(step), int(count)
    except ValueError as error:
        raise InputError(
            f"shard auto: SLURM_ARRAY_TASK_ID={task!r} and SLURM_ARRAY_TASK_COUNT={count!r} do not "
            "say which task of how many this is; set both, or say i/n"
        ) from error


def as_executor(given: Any) -> Local:
    """An executor, of whatever has ``map``.

    Raises:
        InputError: what has none.
    """
    if given is None:
        return Local()
    if isinstance(given, Local):
        return given
    if callable(getattr(given, "map", None)) and not isinstance(given, type):
        return Mapped(given)
    raise InputError(
        f"executor={shown(given)}: Local(), Shard(i, n) or anything with map(function, items)"
    )


def skipping(executor: Executor, names: Sequence[str], gone: Iterable[str]) -> Executor:
    """An executor for what is measured next, of the samples that did not fail before.

    Args:
        executor: who computes.
        names: of all samples.
        gone: names of those that failed.
    """
    lost = set(gone)
    rows = frozenset(row for row, name in enumerate(names) if name in lost)
    return Skipping(as_executor(executor), rows) if rows else executor
