"""A tiny cohere2_vision."""

from vlmlens.zoo.tiny.parts import COHERE2, SIGLIP, square
from vlmlens.zoo.tiny.tiny import Tiny

TINY: dict[str, Tiny] = {
    # transformers' image processor needs torchvision: ours stands in.
    "cohere2_vision": Tiny(
        config={"vision_config": SIGLIP, "text_config": COHERE2, "alignment_intermediate_size": 40},
        pixels=(
            "Cohere2Pixels",
            square(32) | {"crop_to_patches": True, "max_patches": 6, "patch_size": 2},
        ),
        tokens={
            "image_token": "<image>",
            "boi_token": "<|START_OF_IMG|>",
            "eoi_token": "<|END_OF_IMG|>",
            "img_line_break_token": "<|IMG_LINE_BREAK|>",
        },
    ),
}
