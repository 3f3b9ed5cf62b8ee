"""A tiny llava_onevision."""

from vlmlens.zoo.tiny.parts import PINPOINTS, SIGLIP, square, text
from vlmlens.zoo.tiny.tiny import Tiny

TINY: dict[str, Tiny] = {
    "llava_onevision": Tiny(
        config={
            "vision_config": SIGLIP,
            "text_config": text("qwen2"),
            "image_grid_pinpoints": PINPOINTS,
            "vision_aspect_ratio": "anyres_max_2",
        },
        pixels=(
            "LlavaOnevisionImageProcessorPil",
            square(32) | {"image_grid_pinpoints": PINPOINTS},
        ),
        processor={
            "num_image_tokens": 16,
            "vision_feature_select_strategy": "full",
            "vision_aspect_ratio": "anyres_max_2",
        },
        tokens={"video_token": "<video>"},
        ids={"image_token_id": "<image>", "video_token_id": "<video>"},
        frames=square(32),
    ),
}
