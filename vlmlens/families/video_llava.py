"""Video-LLaVA: LLaVA with a tower for pictures and another one for videos, which is not watched.

Its processor calls pictures ``pixel_values_images``; the model takes them as ``pixel_values`` from
transformers 5.23 on, and those names are what inputs hold.
"""

from vlmlens.families.family import Family
from vlmlens.families.llava import deepest_selected, one_grid

VIDEO_LLAVA = Family(
    model_type="video_llava",
    views=one_grid,
    vision_layers="model.image_tower.encoder.layers",
    vision_used=deepest_selected,
    renamed={"pixel_values_images": "pixel_values"},
)
