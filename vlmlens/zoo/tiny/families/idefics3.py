"""A tiny idefics3."""

from vlmlens.zoo.tiny.idefics_parts import idefics
from vlmlens.zoo.tiny.tiny import Tiny

TINY: dict[str, Tiny] = {
    "idefics3": idefics("idefics3_vision"),
}
