"""A cell of the saved map that is open beside the page."""

from dataclasses import dataclass

from vlmlens.interventions import Intervention
from vlmlens.layout import TokenLayout
from vlmlens.live.edits.base import LiveEdit, Setting


@dataclass(frozen=True)
class Cell(LiveEdit):
    """What one cell of a saved sweep or circuit patches.

    Attributes:
        at: its row and its column.
        name: what the map calls it.
    """

    at: tuple[int, ...]
    name: str = "a cell of the saved map"

    def label(self, layout: TokenLayout) -> str:
        """Such as ``"patch head 1 in layer 2"``."""
        return self.name

    def interventions(self, setting: Setting) -> tuple[Intervention, ...]:
        """The edits of the map's own run."""
        return setting.cell(self.at).edits
