"""A tiny vlmlens_llava_grid."""

from vlmlens.zoo.tiny.parts import CLIP, PADDED_PIXELS, WITH_CLS, text
from vlmlens.zoo.tiny.tiny import Tiny

TINY: dict[str, Tiny] = {
    "vlmlens_llava_grid": Tiny(
        config={"vision_config": CLIP, "text_config": text("llama", num_key_value_heads=4)},
        pixels=PADDED_PIXELS,
        processor=WITH_CLS,
    ),
}
