"""A tiny deepseek_vl_hybrid."""

from vlmlens.zoo.tiny.parts import SIGLIP, square, text, tower
from vlmlens.zoo.tiny.tiny import Tiny

TINY: dict[str, Tiny] = {
    "deepseek_vl_hybrid": Tiny(
        config={
            "vision_config": SIGLIP,
            "high_res_vision_config": tower(
                "sam_vision_model", image_size=64, patch_size=8, output_channels=8
            )
            | {"mlp_dim": 40, "window_size": 4, "global_attn_indexes": [1]},
            "text_config": text("llama"),
        },
        pixels=(
            "DeepseekVLHybridImageProcessorPil",
            square(32) | {"min_size": 8, "high_res_size": {"height": 64, "width": 64}},
        ),
        processor={"num_image_tokens": 16},
    ),
}
