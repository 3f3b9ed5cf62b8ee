"""A tiny deepseek_vl."""

from vlmlens.zoo.tiny.parts import SIGLIP, square, text
from vlmlens.zoo.tiny.tiny import Tiny

TINY: dict[str, Tiny] = {
    "deepseek_vl": Tiny(
        config={"vision_config": SIGLIP, "text_config": text("llama")},
        pixels=("DeepseekVLImageProcessorPil", square(32) | {"min_size": 8}),
        processor={"num_image_tokens": 16},
    ),
}
