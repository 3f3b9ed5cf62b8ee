"""One architecture per file, as data."""

from vlmlens.families.family import Block, Family, Stage, Tap
from vlmlens.families.llava import LLAVA
from vlmlens.families.towers import BLOCKS

#: model_type -> family.
FAMILIES: dict[str, Family] = {family.model_type: family for family in (LLAVA,)}

__all__ = ["BLOCKS", "FAMILIES", "Block", "Family", "Stage", "Tap"]
