"""One queue for a model: whose turn it is, how far it is, and how it is stopped."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from threading import Event, get_ident
from typing import Any

from torch import nn

from vlmlens.errors import VLMLensError
from vlmlens.model import HookedVLM

#: What hears how far something is: a share, and a note.
Hears = Callable[[float, str], None]


class Cancelled(VLMLensError):
    """What was asked for was called off."""


class Job:
    """One thing to be done: whether it was called off, and who hears how far it is."""

    def __init__(self, hears: Hears = lambda share, note: None):
        self._called_off = Event()
        self._hears = hears

    def cancel(self) -> None:
        """Call it off; it ends at the next block of the model, or before it begins."""
        self._called_off.set()

    def check(self) -> None:
        """Go on, unless it was called off.

        Raises:
            Cancelled: it was.
        """
        if self._called_off.is_set():
            raise Cancelled("cancelled")

    def progress(self, share: float, note: str = "") -> None:
        """Say how far it is, and go on unless it was called off."""
        self.check()
        self._hears(share, note)


class Turns:
    """Jobs on one model, one after the other, in a thread of its own.

    While it is open, every block of the model asks whether the job that runs was called off.
    ``close`` calls off what waits and runs, and takes all of this off the model again.
    """

    def __init__(self, model: HookedVLM):
        self.model = model
        self._thread = ThreadPoolExecutor(1, "vlmlens-live")
        self._jobs: set[Job] = set()
        self._running: tuple[int, Job] | None = None
        self._closed = False
        self._stack = ExitStack()
        with model.journal.turn:
            self._stack.enter_context(model.reuse())
            self._stack.enter_context(self._asked())

    def submit(self, job: Job, work: Callable[[Job], Any]) -> "Future[Any]":
        """Have something done when its turn comes."""
        self._jobs.add(job)
        if self._closed:
            job.cancel()
        return self._thread.submit(partial(self._run, job, work))

    def call_off(self) -> None:
        """Call off what runs and waits; what comes after has its turn."""
        for job in list(self._jobs):
            job.cancel()

    def close(self) -> None:
        """Stop: what waits and what runs is called off, and the model is as it was."""
        if self._closed:
            return
        self._closed = True
        self.call_off()
        self._thread.shutdown(wait=True)
        with self.model.journal.turn:
            self._stack.close()

    def _run(self, job: Job, work: Callable[[Job], Any]) -> Any:
        self._running = (get_ident(), job)
        try:
            job.check()
            return work(job)
        finally:
            self._running = None
            self._jobs.discard(job)

    @contextmanager
    def _asked(self) -> Iterator[None]:
        def ask(module: nn.Module, args: Any) -> None:
            running = self._running
            if running is not None and running[0] == get_ident():
                running[1].check()

        family, hf_model = self.model.family, self.model.hf_model
        stacks = (family.vision_layers, family.lm_layers)
        blocks = [block for stack in stacks for block in hf_model.get_submodule(stack)]
        hooks = [block.register_forward_pre_hook(ask) for block in blocks]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
