"""A tiny hyperclovax_vision_v2."""

from vlmlens.zoo.tiny.parts import text
from vlmlens.zoo.tiny.qwen_parts import (
    QWEN_FRAMES,
    QWEN_PIXELS,
    QWEN_PLAIN,
    QWEN_TOKENS,
    QWEN_TOWER,
)
from vlmlens.zoo.tiny.tiny import Tiny

TINY: dict[str, Tiny] = {
    "hyperclovax_vision_v2": Tiny(
        config={
            "vision_config": {
                "model_type": "qwen2_5_vl_vision",
                "hidden_size": 24,
                "intermediate_size": 40,
                "out_hidden_size": 20,
                "window_size": 16,
                "fullatt_block_indexes": [1],
            }
            | QWEN_TOWER,
            "text_config": text(
                "hyperclovax",
                embedding_multiplier=2.0,
                logits_scaling=0.5,
                attention_multiplier=0.5,
            ),
        },
        pixels=QWEN_PIXELS,
        image="<|vision_start|><|image_pad|><|vision_end|>",
        frames=QWEN_FRAMES,
        video="<|vision_start|><|video_pad|><|vision_end|>",
        tokens=QWEN_TOKENS,
        plain=QWEN_PLAIN,
        ids={"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"},
        seed=1,
    ),
}
