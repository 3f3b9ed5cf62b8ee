"""A tiny video_llava."""

from vlmlens.zoo.tiny.parts import CLIP, CLIP_PIXELS, WITH_CLS, text
from vlmlens.zoo.tiny.tiny import Tiny

TINY: dict[str, Tiny] = {
    "video_llava": Tiny(
        config={
            "vision_config": CLIP,
            "text_config": text("llama"),
            "vision_feature_layer": -2,
            "vision_feature_select_strategy": "default",
        },
        pixels=("VideoLlavaImageProcessor", CLIP_PIXELS),
        processor=WITH_CLS,
        plain=("<video>",),
        frames=CLIP_PIXELS,
        ids={"image_token_id": "<image>", "video_token_id": "<video>"},
    ),
}
