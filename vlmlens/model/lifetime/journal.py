"""A journal of what is put on a model for a while, and how each thing is taken off again.

An interrupt may come at any moment, also while something is taken off. What is left then is noted
still, and is taken off when the next call begins.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from threading import RLock
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch


@dataclass(eq=False)
class _Note:
    """One thing that was put on.

    Attributes:
        undo: takes it off; may be called more than once.
        over: whether nobody needs it any more once the call that put it on has ended.
    """

    undo: Callable[[], object]
    over: bool


class Journal:
    """What is on a model for a while.

    Attributes:
        turn: whoever runs the model holds it, so that threads wait for each other.
    """

    def __init__(self):
        self.turn = RLock()
        self._notes: list[_Note] = []

    @property
    def held(self) -> bool:
        """Whether this thread runs the model."""
        turn: Any = self.turn  # threading.Condition asks so, too
        return turn._is_owned()

    @contextmanager
    def noted(self, undo: Callable[[], object]) -> Iterator[None]:
        """Have something taken off when this ends, whatever happens.

        Args:
            undo: takes it off, be it all there, in part, or not at all.
        """
        note = _Note(undo, over=self.held)  # else it is a user's context, and lasts
        try:
            self._notes.append(note)
            yield
        finally:
            note.over = True
            undo()
            if note in self._notes:
                self._notes.remove(note)

    def heal(self) -> None:
        """Take off what calls that are over have left, the newest first."""
        for note in reversed(self._notes):
            if note.over:
                note.undo()
                self._notes.remove(note)


P = ParamSpec("P")
T = TypeVar("T")


def in_turn(method: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T]:
    """A method that runs the model: one at a time, on a model as earlier ones should have left it.

    Both ends of ``with turn`` and the last line are single steps of the interpreter, which no
    interrupt divides: nobody is left holding the turn, and gradients are not left switched off.
    """

    @wraps(method)
    def taken(self: Any, *args: P.args, **kwargs: P.kwargs) -> T:
        journal: Journal = self.journal
        nested = journal.held
        with journal.turn:
            if not nested:  # a hook may run the model, too
                journal.heal()
            grad = torch.is_grad_enabled()
            try:
                return method(self, *args, **kwargs)
            finally:
                torch._C._set_grad_enabled(grad)

    return taken
