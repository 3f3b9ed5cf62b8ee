"""Aya Vision: SigLIP in tiles, pixels shuffled into depth; Cohere 2, whose block is parallel."""

from vlmlens.families.family import Family, Pictures, Tap
from vlmlens.families.internvl import tiled
from vlmlens.families.llava import deepest_selected
from vlmlens.layout import View


def _views(pictures: Pictures) -> list[tuple[View, ...]]:
    vision = pictures.config.vision_config
    side = vision.image_size // vision.patch_size // pictures.config.downsample_factor
    return tiled(pictures, side)


AYA_VISION = Family(
    model_type="aya_vision",
    views=_views,
    vision_used=deepest_selected,
    points={
        "projector.hook_out": Tap(
            "model.multi_modal_projector", "out", axes="image row column d_model"
        )
    },
)
