"""Positions by their turn in a conversation."""

from dataclasses import dataclass

import numpy as np

from vlmlens.layout import TokenLayout
from vlmlens.positions.selection import Mask, Selection
from vlmlens.positions.written import Indices, indices


@dataclass(frozen=True, repr=False)
class Turn(Selection):
    """Positions of one turn of a conversation or of several; negative numbers count from the last.

    A turn is what the user says and shows, what the assistant answers, and what the template
    writes around them: ``Turn(0) & "user"`` is what the user says first. What is generated is of
    the last turn.

    Examples:
        >>> from vlmlens.positions import Turn
        >>> shot = vl.Sample("What color is it?", sample.images, answer="red")
        >>> layout = model.inputs(sample.after([shot])).layouts[0]
        >>> [layout.tokens[at] for at in (Turn(0) & "assistant").of(layout).nonzero()[0]]
        [' red']
        >>> int((Turn(-1) & "vision").of(layout).sum())
        64
    """

    index: Indices

    def mask(self, layout: TokenLayout) -> Mask:
        return np.isin(layout.turn, indices(self.index, layout.turns, "turn"))
