"""Tiny models with Pixtral's tower."""

from vlmlens.zoo.tiny.parts import text, tower
from vlmlens.zoo.tiny.tiny import Tiny

TOWER = tower("pixtral", image_size=64, patch_size=4, num_attention_heads=2) | {"head_dim": 12}
PIXELS = ("PixtralImageProcessorPil", {"size": {"longest_edge": 48}, "patch_size": 4})

TINY: dict[str, Tiny] = {
    "mistral3": Tiny(
        config={
            "vision_config": TOWER,
            "text_config": text("mistral", head_dim=8),
            "spatial_merge_size": 2,
        },
        pixels=PIXELS,
        image="[IMG]",
        processor={"patch_size": 4, "spatial_merge_size": 2},
        plain=("[IMG]", "[IMG_BREAK]", "[IMG_END]"),
        ids={"image_token_id": "[IMG]"},
    ),
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
