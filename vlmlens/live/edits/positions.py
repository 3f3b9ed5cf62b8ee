"""Position ids collapsed to one, or shifted."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from vlmlens.checks import one_of
from vlmlens.errors import InputError
from vlmlens.interventions import Intervention, MovePositions
from vlmlens.layout import TokenLayout
from vlmlens.live.edits.base import LiveEdit, Setting, compact, named
from vlmlens.select import Where

WAYS = ("collapse", "shift")


@dataclass(frozen=True)
class Positions(LiveEdit):
    """Other position ids for some tokens.

    Attributes:
        keys: their positions.
        how: ``"collapse"``, all to the first one's id, or ``"shift"``.
        by: for ``"shift"``.
    """

    keys: tuple[int, ...]
    how: str = "collapse"
    by: int | float = 0.0
    PLACES: ClassVar[tuple[str, ...]] = ("keys",)

    def __post_init__(self):
        super().__post_init__()
        one_of(self.how, "how", WAYS)

    def label(self, layout: TokenLayout) -> str:
        """Such as ``"shift the ids of the picture by 8"``."""
        by = f" by {self.by:g}" * (self.how == "shift")
        return f"{self.how} the ids of {named(self.keys, layout)}{by}"

    def interventions(self, setting: Setting) -> tuple[Intervention, ...]:
        """Other ids in the inputs."""
        where = Where(positions=compact(self.keys, "keys"))
        if self.how == "collapse":
            made = MovePositions(where=where, to="constant")
        else:
            made = MovePositions(where=where, shift=self.by)
        old, new = (
            x.tensors["position_ids"] for x in (setting.inputs, made.prepare(setting.inputs))
        )
        if old.dtype == new.dtype and torch.equal(old, new):
            raise InputError(
                f"to {self.label(setting.layout)} leaves every position id as it is: "
                + (
                    "choose more tokens"
                    if self.how == "collapse"
                    else "say how far they are shifted"
                )
            )
        return (made,)
