"""Tiny models of llava."""

from vlmlens.zoo.tiny.parts import CLIP, CLIP_PIXELS, SIGLIP, WITH_CLS, square, text, tower
from vlmlens.zoo.tiny.tiny import Tiny

TINY: dict[str, Tiny] = {
    # LLaVA-1.5's parts: CLIP, whose last block is not read, and Llama without grouped heads.
    "llava": Tiny(
        config={
            "vision_config": CLIP,
            "text_config": text("llama", num_key_value_heads=4),
            "vision_feature_layer": -2,
            "vision_feature_select_strategy": "default",
        },
        pixels=("CLIPImageProcessorPil", CLIP_PIXELS),
        processor=WITH_CLS,
    ),
    # SigLIP without CLS, whose patches do not fill the picture; Qwen2 with biases.
    "llava/siglip-qwen2": Tiny(
        config={
            "vision_config": SIGLIP | {"image_size": 32, "patch_size": 10},
            "text_config": text("qwen2"),
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "full",
        },
        pixels=("SiglipImageProcessorPil", square(32)),
        processor={"patch_size": 10, "vision_feature_select_strategy": "full"},
    ),
    # DINOv2, whose sublayers scale what they write; a middle block is read.
    "llava/dinov2": Tiny(
        config={
            "vision_config": tower("dinov2", num_hidden_layers=3, image_size=64, patch_size=8)
            | {"mlp_ratio": 2, "use_mask_token": False},
            "text_config": text("llama"),
            "vision_feature_layer": 2,
            "vision_feature_select_strategy": "default",
        },
        pixels=("CLIPImageProcessorPil", CLIP_PIXELS),
        processor=WITH_CLS,
    ),
}
