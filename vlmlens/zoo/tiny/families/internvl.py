"""A tiny internvl."""

from vlmlens.zoo.tiny.parts import square, text, tower
from vlmlens.zoo.tiny.tiny import Tiny

PIXELS = ("GotOcr2ImageProcessorPil", square(32) | {"crop_to_patches": True, "max_patches": 4})
TOKENS = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
}

TINY: dict[str, Tiny] = {
    "internvl": Tiny(
        config={
            "vision_config": tower("internvl_vision", image_size=[32, 32], patch_size=[8, 8])
            | {"use_qk_norm": True},
            "text_config": text("qwen2"),
        },
        pixels=PIXELS,
        image="<IMG_CONTEXT>",
        processor={"image_seq_length": 4},
        tokens=TOKENS | {"video_token": "<video>"},
        ids={"image_token_id": "<IMG_CONTEXT>"},
        frames=square(32),
    ),
}
