"""A tiny cosmos3_edge."""

from vlmlens.zoo.tiny.parts import text, tower
from vlmlens.zoo.tiny.qwen_parts import (
    QWEN_FRAMES,
    QWEN_IDS,
    QWEN_PIXELS,
    QWEN_PLAIN,
    QWEN_TEXT,
    QWEN_TOKENS,
)
from vlmlens.zoo.tiny.tiny import Tiny

TINY: dict[str, Tiny] = {
    "cosmos3_edge": Tiny(
        config={
            "vision_config": tower("cosmos3_edge_vision", num_patches=64, patch_size=4),
            "text_config": text("cosmos3_edge_text", **QWEN_TEXT),
            "projector_hidden_size": 40,
        },
        pixels=("Cosmos3EdgeImageProcessorPil", QWEN_PIXELS[1]),
        image="<|vision_start|><|image_pad|><|vision_end|>",
        frames=QWEN_FRAMES,
        video="<|vision_start|><|video_pad|><|vision_end|>",
        tokens=QWEN_TOKENS,
        plain=QWEN_PLAIN,
        ids=QWEN_IDS,
    ),
}
