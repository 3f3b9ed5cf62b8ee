"""Work that can be sent to other processes, which open the model themselves."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from vlmlens.errors import InputError
from vlmlens.experiments.keys import Keys
from vlmlens.experiments.opened import OPENED
from vlmlens.model import HookedVLM

Task = TypeVar("Task")
Step = TypeVar("Step")


class Sent(ABC, Generic[Task, Step]):
    """How any task is done: a function that can be sent to other processes.

    Sent there, it opens the model by its name, once a process, and makes sure that it is the same.

    Args:
        model: an open model.
    """

    def __init__(self, model: HookedVLM):
        self._model, self._opening, self._base = model, model.opening, ""
        self._turn, self._threads = threading.Lock(), 0

    @property
    @abstractmethod
    def how(self) -> tuple[Any, ...]:
        """Whatever decides over results beside the model: what is measured, and its settings."""

    @abstractmethod
    def steps(self, task: Task) -> Iterator[Step]:
        """A task, step by step."""

    def __call__(self, task: Task) -> list[Step]:
        """A task, all of it; threads of one process, which share its model, take turns."""
        with self._turn, self.model.reuse():
            if any(not each.acts for each in self.model.spliced):
                raise InputError(
                    f"{self.model.splices[0]} is spliced in in another thread, and would not act "
                    "in this one: run without an executor of threads"
                )
            return list(self.steps(task))

    @property
    def model(self) -> HookedVLM:
        """The open model; in another process it is opened there."""
        if self._model is None:
            self._model = OPENED.get(self._opening, self._threads, self._base, self._identity)
        return self._model

    def _identity(self, model: HookedVLM) -> str:
        return Keys(model, *self.how).base

    def __getstate__(self) -> dict[str, Any]:
        if self._model is not None and self._model.splices:
            raise InputError(
                f"{self._model.splices[0]} is spliced in here, and other processes would open the "
                "plain model: run in this process, without an executor"
            )
        if not self._opening:
            raise InputError(
                f"{self._model.name} was made in memory, and other processes open models by name: "
                "save it, and open it with HookedVLM.from_pretrained(folder)"
            )
        if self._model is not None and not self._base:  # once: pools send it with every task
            self._base = self._identity(self._model)
        name, options = self._opening
        opening = (str(Path(name).absolute()) if Path(name).is_dir() else name, options)
        sent = {"_model": None, "_turn": None, "_opening": opening}
        return vars(self) | sent | {"_threads": self._threads or torch.get_num_threads()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state | {"_turn": threading.Lock()})
