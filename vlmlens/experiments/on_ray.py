"""Ray's workers: many GPUs or machines, uneven work, nodes that may go away."""

import logging
import os
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from math import ceil
from typing import Any, TypeVar

from vlmlens.checks import number, whole
from vlmlens.errors import InputError
from vlmlens.experiments.executors import Local
from vlmlens.experiments.sent import Sent, Step, Task
from vlmlens.extras import require

T = TypeVar("T")
LOG = logging.getLogger(__name__)
#: Tasks that a worker has before it while it does one.
AHEAD = 2
#: Seconds without any result after which it is said what Ray has.
PATIENCE = 60.0
#: How often Ray is started where its node is not there within its own 30 seconds.
STARTS = 2


@dataclass(frozen=True)
class OnRay(Local):
    """Workers of Ray, each of which opens the model once, by its name.

    They live as long as this does: several experiments that are given the same one share them,
    and the models that they have open. A worker whose process or node goes away is started again,
    and its batch is computed again. Results come back to this process, which keeps them.

    Attributes:
        workers: how many; None: as many as there is room for.
        address: of a cluster, such as ``"auto"`` or ``"ray://head:10001"``; None uses the one that
            is connected, or that ``RAY_ADDRESS`` names, or starts one on this machine, which ends
            with this.
        num_gpus: that each worker has; a share, such as 0.5, where two fit on one.
        num_cpus: that each worker has.

    Raises:
        InputError: numbers that cannot be.

    Examples:
        >>> vl.experiments.OnRay(workers=8, num_gpus=1)
        OnRay(workers=8, address=None, num_gpus=1, num_cpus=1)
    """

    workers: int | None = None
    address: str | None = None
    num_gpus: int | float = 0
    num_cpus: int | float = 1

    def __post_init__(self):
        if self.workers is not None:
            whole(self.workers, "workers", least=1)
        for name in ("num_gpus", "num_cpus"):
            number(getattr(self, name), name, least=0)
        if not (self.num_gpus or self.num_cpus):
            raise InputError("a worker has some of a CPU or of a GPU: num_cpus=, num_gpus=")

    def share(self, batches: Sequence[T]) -> Sequence[T]:
        """The batches that are computed here: all of them.

        Raises:
            MissingToolError: Ray is not installed (the extra ``ray``).
        """
        require("ray", "OnRay", "Local(), or Shard(i, n) in several processes, goes without it")
        return batches

    def steps(self, work: Sent[Task, Step], tasks: Iterable[Task]) -> Iterator[Step]:
        """What is finished, as it is finished.

        Raises:
            InputError: there is no such cluster, or a worker fits nowhere in it.
            VLMLensError: what a worker's task raises.
        """
        import ray  # pyright: ignore[reportMissingImports]

        tasks = iter(tasks)
        if (first := next(tasks, None)) is None:
            return
        actors = self._actors  # first of all: whatever else is asked of Ray starts one by itself
        tasks, kept = chain([first], tasks), ray.put(work)
        # A worker gets work when it has begun: one that there is no room for holds none up.
        starting = {actor.begun.remote(): actor for actor in actors}
        going: dict[Any, Any] = {}
        while starting or going:
            ready, _ = ray.wait([*starting, *going], num_returns=1, timeout=PATIENCE)
            if not ready:
                LOG.warning("nothing came for %.0f s; Ray %s", PATIENCE, _has(ray))
                continue
            (ref,) = ready
            count, actor = (AHEAD, starting.pop(ref)) if ref in starting else (1, going.pop(ref))
            steps = _got(ray, ref)
            going |= {actor.do.remote(kept, task): actor for task in islice(tasks, count)}
            yield from steps
            if not going:
                return

    @cached_property
    def _actors(self) -> list[Any]:
        import ray  # pyright: ignore[reportMissingImports]

        if not ray.is_initialized():
            _connect(ray, self)
        elif self.address is not None:
            _refuse_elsewhere(ray, self.address)
        fit = _fit(ray, self)
        if not fit:
            raise InputError(
                f"no worker with {self.num_cpus:g} CPUs and {self.num_gpus:g} GPUs fits anywhere: "
                f"Ray {_has(ray)}"
            )
        if self.workers is not None and fit < self.workers:
            LOG.warning("there is room for %d of %d workers: Ray %s", fit, self.workers, _has(ray))
        worker = ray.remote(_Worker).options(
            num_gpus=self.num_gpus, num_cpus=self.num_cpus, max_restarts=-1, max_task_retries=-1
        )
        return [worker.remote() for _ in range(self.workers or fit)]


class _Worker:
    """One process of Ray's; what it has open stays open."""

    def begun(self) -> list[Any]:
        return []

    def do(self, work: Sent[Task, Step], task: Task) -> list[Step]:
        return work(task)


def _connect(ray: Any, given: OnRay) -> None:
    """Connect to a cluster, or start one here; it ends with who asked for it."""
    here = given.address is None and "RAY_ADDRESS" not in os.environ
    if here:
        cpus = os.cpu_count() or 1
        room = max(cpus, ceil((given.workers or 1) * given.num_cpus))
        start_here(ray, num_cpus=room, include_dashboard=False, log_to_driver=False)
    else:
        try:
            ray.init(given.address, log_to_driver=False)
        except (ConnectionError, ValueError) as error:
            said = " ".join(str(error).split())
            raise InputError(f"address={given.address!r}: no cluster of Ray's ({said})") from error
    weakref.finalize(given, ray.shutdown)


def _refuse_elsewhere(ray: Any, address: str) -> None:
    """Refuse an address where Ray is connected to another one."""
    there = ray.get_runtime_context().gcs_address
    if address not in ("auto", there) and "://" not in address:
        raise InputError(
            f"address={address!r}, and Ray is connected to {there!r} in this process: leave the "
            "address out, or call ray.shutdown() first"
        )


def start_here(ray: Any, **options: Any) -> None:
    """Start Ray here, once more where its node took longer than Ray waits."""
    for left in reversed(range(STARTS)):
        try:
            ray.init("local", **options)
            return
        except Exception as error:  # a bare one is what it raises then
            ray.shutdown()
            if not left:
                raise InputError(
                    f"Ray could not be started on this machine ({' '.join(str(error).split())}), "
                    f"{STARTS} times. Where others keep it that busy, run without executor=, or "
                    "in shares, executor=Shard(...)"
                ) from error


def _fit(ray: Any, given: OnRay) -> int:
    """How many such workers there is room for."""
    asked = {"CPU": given.num_cpus, "GPU": given.num_gpus}
    asked = {name: each for name, each in asked.items() if each}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(int(min(node.get(name, 0) / each for name, each in asked.items())) for node in nodes)


def _has(ray: Any) -> str:
    found = ray.cluster_resources()
    return f"has {found.get('CPU', 0):g} CPUs and {found.get('GPU', 0):g} GPUs"


def _got(ray: Any, ref: Any) -> list[Any]:
    try:
        return ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
