"""A tiny paddleocr_vl."""

from vlmlens.zoo.tiny.parts import text, tower
from vlmlens.zoo.tiny.qwen_parts import QWEN_IDS, QWEN_PLAIN, QWEN_TEXT, QWEN_TOKENS
from vlmlens.zoo.tiny.tiny import Tiny

IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
SIZES = {"size": {"shortest_edge": 256, "longest_edge": 2048}, "patch_size": 4}

TINY: dict[str, Tiny] = {
    "paddleocr_vl": Tiny(
        config={
            "vision_config": tower("paddleocr_vl_vision", image_size=32, patch_size=4)
            | {"spatial_merge_size": 2},
            "text_config": text("paddleocr_vl_text", **QWEN_TEXT),
        },
        pixels=("PaddleOCRVLImageProcessorPil", SIZES),
        image=IMAGE,
        tokens=QWEN_TOKENS,
        plain=QWEN_PLAIN,
        ids=QWEN_IDS,
    ),
}
