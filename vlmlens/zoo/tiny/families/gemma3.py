"""A tiny gemma3."""

from vlmlens.zoo.tiny.parts import SIGLIP, square, text
from vlmlens.zoo.tiny.tiny import Tiny

TINY: dict[str, Tiny] = {
    # One layer of three sees everything, the others six positions.
    "gemma3": Tiny(
        config={
            "vision_config": SIGLIP,
            "text_config": text(
                "gemma3_text",
                head_dim=8,
                query_pre_attn_scalar=8,
                sliding_window=6,
                layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            ),
            "mm_tokens_per_image": 4,
        },
        pixels=("Gemma3ImageProcessorPil", square(32)),
        image="<start_of_image>",
        processor={"image_seq_length": 4},
        tokens={
            "image_token": "<image_soft_token>",
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
        },
        ids={
            "image_token_id": "<image_soft_token>",
            "boi_token_index": "<start_of_image>",
            "eoi_token_index": "<end_of_image>",
        },
    ),
}
