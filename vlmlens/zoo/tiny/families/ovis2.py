"""A tiny ovis2."""

from vlmlens.zoo.tiny.parts import square, text, tower
from vlmlens.zoo.tiny.tiny import OF_TOKENIZER, Tiny

OVIS_INDICATORS = ["<IMG_START>", "<IMG_GRID>", "<IMG_COL>", "<IMG_ROW>", "<IMG_END>"]

TINY: dict[str, Tiny] = {
    "ovis2": Tiny(
        config={
            "vision_config": tower("ovis2_vision", image_size=32, patch_size=8, vocab_size=45)
            | {"hidden_stride": 2, "qkv_bias": True},
            "text_config": text("qwen2"),
            "hidden_size": 32,
            "vocab_size": OF_TOKENIZER,
        },
        pixels=(
            "Ovis2ImageProcessorPil",
            square(32) | {"crop_to_patches": True, "max_patches": 6},
        ),
        processor={"image_seq_length": 4},
        plain=("<IMG_ATOM>", *OVIS_INDICATORS),
        ids={"image_token_id": "<IMG_ATOM>", "visual_indicator_token_ids": OVIS_INDICATORS},
    ),
}
