"""A tiny qianfan_ocr."""

from vlmlens.zoo.tiny.families.internvl import PIXELS, TOKENS
from vlmlens.zoo.tiny.parts import text, tower
from vlmlens.zoo.tiny.tiny import Tiny

TINY: dict[str, Tiny] = {
    "qianfan_ocr": Tiny(
        config={
            "vision_config": tower("qianfan_ocr_vision", image_size=[32, 32], patch_size=[8, 8]),
            "text_config": text("qwen3", head_dim=8),
        },
        pixels=PIXELS,
        processor={"image_seq_length": 4},
        tokens=TOKENS,
        plain=("<image>",),
        ids={"image_token_id": "<IMG_CONTEXT>"},
        seed=1,
    ),
}
