"""A tiny aya_vision."""

from vlmlens.zoo.tiny.parts import COHERE2, SIGLIP, square
from vlmlens.zoo.tiny.tiny import Tiny

TINY: dict[str, Tiny] = {
    "aya_vision": Tiny(
        config={
            "vision_config": SIGLIP,
            "text_config": COHERE2,
        },
        pixels=(
            "GotOcr2ImageProcessorPil",
            square(32) | {"crop_to_patches": True, "max_patches": 4},
        ),
        processor={"patch_size": 8, "img_size": 32, "downsample_factor": 2},
        plain=(
            "<|START_OF_IMG|>",
            "<|END_OF_IMG|>",
            "<|IMG_PATCH|>",
            "<|IMG_LINE_BREAK|>",
            "TILE_GLOBAL",
            *(f"TILE_{number}" for number in range(1, 5)),
        ),
        ids={"image_token_id": "<|IMG_PATCH|>"},
        seed=1,
    ),
}
