"""A tiny exaone4_5."""

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
    # Every second layer sees everything and has no RoPE.
    "exaone4_5": Tiny(
        config={
            "vision_config": {
                "model_type": "exaone4_5_vision",
                "hidden_size": 32,
                "intermediate_size": 40,
                "out_hidden_size": 32,
                "window_size": 16,
                "fullatt_block_indexes": [1],
            }
            | QWEN_TOWER
            | {"num_heads": 4, "num_key_value_heads": 2},
            "text_config": text(
                "exaone4",
                sliding_window=8,
                layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            ),
        },
        pixels=QWEN_PIXELS,
        image="<|vision_start|><|image_pad|><|vision_end|>",
        frames=QWEN_FRAMES,
        video="<|vision_start|><|video_pad|><|vision_end|>",
        tokens=QWEN_TOKENS,
        plain=QWEN_PLAIN,
        ids={"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"},
    ),
}
