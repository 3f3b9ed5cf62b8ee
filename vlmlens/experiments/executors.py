"""Where cells run."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Local:
    """In this process, one after another, each when its result is asked for."""

    def map(self, function: Callable[[Given], Made], cells: Iterable[Given]) -> Iterator[Made]:
        """Results in the cells' order."""
        return map(function, cells)
