"""A tiny llava_next_video."""

from vlmlens.zoo.tiny.parts import CLIP, CLIP_PIXELS, PINPOINTS, WITH_CLS, text
from vlmlens.zoo.tiny.tiny import Tiny

TINY: dict[str, Tiny] = {
    "llava_next_video": Tiny(
        config={
            "vision_config": CLIP,
            "text_config": text("llama"),
            "image_grid_pinpoints": PINPOINTS,
        },
        pixels=("LlavaNextImageProcessorPil", CLIP_PIXELS | {"image_grid_pinpoints": PINPOINTS}),
        processor=WITH_CLS,
        plain=("<video>",),
        ids={"image_token_id": "<image>", "video_token_id": "<video>"},
        frames=CLIP_PIXELS,
    ),
}
