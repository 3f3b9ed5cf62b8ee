"""What the model held on a second picture, put in."""

from dataclasses import dataclass
from typing import ClassVar

from vlmlens.interventions import Intervention, PatchFrom
from vlmlens.live.edits.base import LiveEdit, Setting, compact, counted, span, where_layers
from vlmlens.select import Where

POINT = "blocks.*.hook_resid_post"


@dataclass(frozen=True)
class Patch(LiveEdit):
    """The residual stream after some layers, from the run on the second picture.

    Attributes:
        layers: the first and the last.
        keys: positions that are patched; None for all of the image.
    """

    layers: tuple[int, ...]
    keys: tuple[int, ...] | None = None
    PLACES: ClassVar[tuple[str, ...]] = ("keys",)

    @property
    def label(self) -> str:
        """Such as ``"patch 16 positions after layer 2"``."""
        of = "the image" if self.keys is None else counted(self.keys)
        return f"patch {of} after {where_layers(self.layers)}"

    def interventions(self, setting: Setting) -> tuple[Intervention, ...]:
        """A patch of the stream."""
        chosen = "vision" if self.keys is None else compact(self.keys, "keys")
        where = Where(layers=span(self.layers), positions=chosen)
        return (PatchFrom(POINT, where, source=setting.second()),)
