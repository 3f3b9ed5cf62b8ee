"""Reading cut: these positions no longer attend to those."""

from dataclasses import dataclass
from typing import ClassVar

from vlmlens.interventions import Intervention, KnockOut
from vlmlens.layout import TokenLayout
from vlmlens.live.edits.base import LiveEdit, Setting, compact, named, span, where_layers
from vlmlens.select import Where


@dataclass(frozen=True)
class Block(LiveEdit):
    """Queries that no longer read keys.

    Attributes:
        queries: positions that read.
        keys: positions that are read.
        layers: the first and the last layer in which they do not; None for all.
    """

    queries: tuple[int, ...]
    keys: tuple[int, ...]
    layers: tuple[int, ...] | None = None
    PLACES: ClassVar[tuple[str, ...]] = ("queries", "keys")

    def label(self, layout: TokenLayout) -> str:
        """Such as ``"“orange” does not read the patch in row 1, column 4 in all layers"``."""
        reading = f"do{'es' * (len(set(self.queries)) == 1)} not read"
        who, whom = named(self.queries, layout), named(self.keys, layout)
        return f"{who} {reading} {whom} in {where_layers(self.layers)}"

    def interventions(self, setting: Setting) -> tuple[Intervention, ...]:
        """A knock-out of attention."""
        queries, keys = compact(self.queries, "queries"), compact(self.keys, "keys")
        return (KnockOut(where=Where(layers=span(self.layers), queries=queries, keys=keys)),)
