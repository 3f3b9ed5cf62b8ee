"""The model that a worker has open for what it is sent: one at a time, and the right one."""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from vlmlens.errors import DataError
from vlmlens.model import HookedVLM

#: A model's name, and what it was opened with.
Opening = tuple[str, tuple[tuple[str, Any], ...]]


@dataclass
class Opened:
    """A process's model, and what has been made sure of.

    Attributes:
        opening: how it was opened.
        model: the open model.
        proven: identities of model, measure and versions that it was found to have.
    """

    opening: Opening | None = None
    model: HookedVLM | None = None
    proven: set[str] = field(default_factory=set)
    turn: threading.Lock = field(default_factory=threading.Lock)

    def get(
        self, opening: Opening, threads: int, base: str, found: Callable[[HookedVLM], str]
    ) -> HookedVLM:
        """The model that work was begun with; another one that is open is closed before.

        Args:
            opening: of the model that is wanted.
            threads: of the process that began, which decide over the last bits. A fork of a
                process takes one: its OpenMP waits for ever for threads that it left behind.
            base: identity of what that process measures.
            found: what it is here.

        Raises:
            DataError: it is another here.
        """
        with self.turn:
            torch.set_num_threads(1 if _FORKED.is_set() else threads)
            if self.opening != opening or self.model is None:
                if self.model is not None:
                    self.model.close()
                self.model, self.proven = None, set()  # two would not fit on a device
                self.opening, self.model = opening, _open(opening)
            if base not in self.proven:
                if found(self.model) != base:
                    raise DataError(
                        f"{opening[0]}, opened by a worker, is not the model, the measure or the "
                        "version that the run began with: it was changed after it was opened"
                    )
                self.proven.add(base)
            return self.model


def _open(opening: Opening) -> HookedVLM:
    name, options = opening
    return HookedVLM.from_pretrained(name, **dict(options))


#: Set in a process that was forked off one that had this module, and so torch.
_FORKED = threading.Event()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_FORKED.set)

#: This process's; only workers have one.
OPENED = Opened()
