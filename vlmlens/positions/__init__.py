"""Which positions of a sequence: small values that combine with ``|``, ``&`` and ``~``.

``Role("vision") & ~Row(0)`` is every vision token but those of the top row. Each value says of one
sample's layout which positions it means; what means nothing there raises and says what there is.
"""

from vlmlens.positions.frames import Frame
from vlmlens.positions.grid import Box, Cell, Column, Region, Row
from vlmlens.positions.selection import (
    AllOf,
    AnyOf,
    At,
    Not,
    Positions,
    Role,
    Selection,
    as_positions,
    as_selection,
    chosen,
)
from vlmlens.positions.text import Text
from vlmlens.positions.turns import Turn
from vlmlens.positions.written import Indices, Span, as_numbers, as_written, indices

__all__ = [
    "AllOf",
    "AnyOf",
    "At",
    "Box",
    "Cell",
    "Column",
    "Frame",
    "Indices",
    "Not",
    "Positions",
    "Region",
    "Role",
    "Row",
    "Selection",
    "Span",
    "Text",
    "Turn",
    "as_numbers",
    "as_positions",
    "as_selection",
    "as_written",
    "chosen",
    "indices",
]
