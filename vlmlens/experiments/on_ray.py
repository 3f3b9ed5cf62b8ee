"""Ray's workers: many GPUs or machines, uneven work, nodes that may go away."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from vlmlens.experiments.executors import Local
from vlmlens.experiments.work import Step, Task, Work
from vlmlens.extras import require

T = TypeVar("T")
#: Tasks that a worker has before it while it does one.
AHEAD = 2


@dataclass(frozen=True)
class OnRay(Local):
    """Workers of Ray, each of which opens the model once, by its name.

    A worker whose process or node goes away is started again, and its batch is computed again.
    Results come back to this process, which keeps them.

    Attributes:
        workers: how many.
        address: of a cluster, such as ``"auto"`` or ``"ray://head:10001"``; None uses the one that
            is connected, or starts one on this machine.
        num_gpus: that each worker has; a share, such as 0.5, where two fit on one.
        num_cpus: that each worker has.

    Examples:
        >>> vl.experiments.OnRay(workers=8, num_gpus=1)
        OnRay(workers=8, address=None, num_gpus=1, num_cpus=1)
    """

    workers: int = 1
    address: str | None = None
    num_gpus: int | float = 0
    num_cpus: int | float = 1

    def share(self, batches: Sequence[T]) -> Sequence[T]:
        """The batches that are computed here: all of them.

        Raises:
            MissingToolError: Ray is not installed (the extra ``ray``).
        """
        require("ray", "OnRay", "Local(), or Shard(i, n) in several processes, goes without it")
        return batches

    def steps(self, work: Work, tasks: Iterable[Task]) -> Iterator[Step]:
        """What is finished, as it is finished."""
        import ray  # pyright: ignore[reportMissingImports]

        tasks = iter(tasks)
        if (first := next(tasks, None)) is None:
            return
        started = not ray.is_initialized()
        if started:
            ray.init(self.address, log_to_driver=False)
        try:
            yield from self._steps(ray, work, first, tasks)
        finally:
            if started:
                ray.shutdown()

    def _steps(self, ray: Any, work: Work, first: Task, tasks: Iterator[Task]) -> Iterator[Step]:
        kept = ray.put(work)
        worker = ray.remote(_Worker).options(
            num_gpus=self.num_gpus, num_cpus=self.num_cpus, max_restarts=-1, max_task_retries=-1
        )
        actors = [worker.remote(kept) for _ in range(self.workers)]
        going = {actors[0].do.remote(first): actors[0]}
        for actor in [*actors[1:], *(actors * (AHEAD - 1))]:
            going |= {actor.do.remote(task): actor for task in islice(tasks, 1)}
        while going:
            (ready,), _ = ray.wait(list(going), num_returns=1)
            actor = going.pop(ready)
            try:
                steps = ray.get(ready)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            going |= {actor.do.remote(task): actor for task in islice(tasks, 1)}
            yield from steps


class _Worker:
    """One process of Ray's, with its model open."""

    def __init__(self, work: Work):
        self._work = work

    def do(self, task: Task) -> list[Step]:
        return self._work(task)
