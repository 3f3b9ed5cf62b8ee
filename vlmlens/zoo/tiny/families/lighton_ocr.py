"""A tiny lighton_ocr."""

from vlmlens.zoo.tiny.families.mistral3 import PIXELS, TOWER
from vlmlens.zoo.tiny.parts import text
from vlmlens.zoo.tiny.tiny import Tiny

TINY: dict[str, Tiny] = {
    "lighton_ocr": Tiny(
        config={
            "vision_config": TOWER,
            "text_config": text("qwen3", head_dim=8),
            "spatial_merge_size": 2,
        },
        pixels=PIXELS,
        image="<|image_pad|>",
        processor={"patch_size": 4, "spatial_merge_size": 2},
        tokens={
            "image_token": "<|image_pad|>",
            "image_break_token": "<|vision_pad|>",
            "image_end_token": "<|vision_end|>",
        },
        ids={"image_token_id": "<|image_pad|>"},
    ),
}
