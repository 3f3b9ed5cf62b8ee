"""A tiny vipllava."""

from vlmlens.zoo.tiny.parts import CLIP, CLIP_PIXELS, WITH_CLS, text
from vlmlens.zoo.tiny.tiny import Tiny

TINY: dict[str, Tiny] = {
    "vipllava": Tiny(
        config={
            "vision_config": CLIP,
            "text_config": text("llama"),
            "vision_feature_layers": [-2, 1],
        },
        pixels=("CLIPImageProcessorPil", CLIP_PIXELS),
        processor=WITH_CLS,
    ),
}
