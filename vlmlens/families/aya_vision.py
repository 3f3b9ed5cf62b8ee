"""Aya Vision: SigLIP in tiles, pixels shuffled into depth; Cohere 2, whose block is parallel."""

from typing import Any

from vlmlens.families.family import Family, Pictures, Tap
from vlmlens.families.internvl import tiled
from vlmlens.families.llava import deepest_selected
from vlmlens.view import View


def tile_side(config: Any) -> tuple[int, int]:
    """Tokens along a tile's side, after pixels are shuffled into depth; pixels along a token's."""
    vision = config.vision_config
    unit = vision.patch_size * config.downsample_factor
    return vision.image_size // unit, unit


def _views(pictures: Pictures) -> list[tuple[View, ...]]:
    return tiled(pictures, *tile_side(pictures.config))


AYA_VISION = Family(
    model_type="aya_vision",
    views=_views,
    vision_used=deepest_selected,
    points={
        "projector.hook_out": Tap(
            "model.multi_modal_projector",
            "out",
            "image row column d_model -> image (row column) d_model",
        )
    },
)
