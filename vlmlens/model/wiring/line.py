"""What a point needs of what it hangs on, and of what is spliced in at it."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Shaped
from torch import Tensor, nn

from vlmlens.model.lifetime.board import Board


@runtime_checkable
class Line(Protocol):
    """What a point needs of the wire that it hangs on."""

    board: Board
    points: list[Any]

    @property
    def module(self) -> nn.Module:
        """The transformers module."""
        ...

    def refresh(self) -> None:
        """Have torch call where, and only where, some point has hooks."""
        ...


@runtime_checkable
class Taker(Protocol):
    """What is spliced in at a point: it is shown what hooks left of the activation."""

    @property
    def acts(self) -> bool:
        """Whether it acts now and in this thread."""
        ...

    def carry(self, point: Any, x: Shaped[Tensor, "*axes"]) -> Shaped[Tensor, "*axes"]:
        """What goes on in the activation's place."""
        ...


def after(
    point: Any, taken: Sequence[Taker], x: Shaped[Tensor, "*axes"]
) -> Shaped[Tensor, "*axes"]:
    """An activation after what is spliced in at its point, one after another."""
    for each in taken:
        x = each.carry(point, x) if each.acts else x
    return x
