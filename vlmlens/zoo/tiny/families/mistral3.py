"""A tiny mistral3."""

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
}
