"""ViP-LLaVA: LLaVA whose projector reads five layers of the tower at once."""

from vlmlens.families.family import Family
from vlmlens.families.llava import deepest_selected, one_grid

VIPLLAVA = Family(model_type="vipllava", views=one_grid, vision_used=deepest_selected)
