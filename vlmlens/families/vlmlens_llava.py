"""LLaVA as ``vlmlens.zoo.variants`` extends it: a norm after the projector, several layers."""

from vlmlens.families.family import Family
from vlmlens.families.llava import LLAVA, deepest_selected, one_grid

VLMLENS_LLAVA = Family(
    model_type="vlmlens_llava",
    views=one_grid,
    vision_used=deepest_selected,
    towers=LLAVA.towers,
)
