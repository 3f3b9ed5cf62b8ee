"""Tiny models of paligemma."""

from vlmlens.zoo.tiny.parts import SIGLIP, square, text
from vlmlens.zoo.tiny.tiny import Tiny

TINY: dict[str, Tiny] = {
    "paligemma": Tiny(
        config={
            "vision_config": SIGLIP | {"projection_dim": 32},
            "text_config": text("gemma", head_dim=8, num_key_value_heads=1),
            "projection_dim": 32,
        },
        pixels=("SiglipImageProcessorPil", square(32) | {"image_seq_length": 16}),
        bos=False,
    ),
    # PaliGemma 2: soft caps on scores and logits, sliding windows, norms on both sides.
    "paligemma/gemma2": Tiny(
        config={
            "vision_config": SIGLIP | {"projection_dim": 32},
            "text_config": text("gemma2", head_dim=8, query_pre_attn_scalar=8, sliding_window=8),
            "projection_dim": 32,
        },
        pixels=("SiglipImageProcessorPil", square(32) | {"image_seq_length": 16}),
        bos=False,
    ),
}
