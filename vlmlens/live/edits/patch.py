"""What the model held on a second picture, put in."""

from dataclasses import dataclass
from typing import ClassVar

from vlmlens.interventions import Intervention, PatchFrom
from vlmlens.layout import TokenLayout
from vlmlens.live.edits.base import LiveEdit, Setting, compact, named, span, where_layers
from vlmlens.select import Where

POINT, BEFORE = "blocks.*.hook_resid_post", "blocks.0.hook_resid_pre"


@dataclass(frozen=True)
class Patch(LiveEdit):
    """The residual stream after some layers, from the run on the second picture.

    Attributes:
        layers: the first and the last; None for what enters layer 0.
        keys: positions that are patched; None for all of the image.
    """

    layers: tuple[int, ...] | None = None
    keys: tuple[int, ...] | None = None
    PLACES: ClassVar[tuple[str, ...]] = ("keys",)

    def label(self, layout: TokenLayout) -> str:
        """Such as ``"patch the picture after layer 2"``."""
        at = "before layer 0" if self.layers is None else f"after {where_layers(self.layers)}"
        return f"patch {named(self.keys, layout)} {at}"

    def interventions(self, setting: Setting) -> tuple[Intervention, ...]:
        """A patch of the stream."""
        chosen = "vision" if self.keys is None else compact(self.keys, "keys")
        where = Where(layers=span(self.layers), positions=chosen)
        point = BEFORE if self.layers is None else POINT
        return (PatchFrom(point, where, source=setting.second()),)
