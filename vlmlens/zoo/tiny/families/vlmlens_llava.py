"""Tiny models of vlmlens_llava."""

from vlmlens.zoo.tiny.parts import CLIP, PADDED_PIXELS, WITH_CLS, text
from vlmlens.zoo.tiny.tiny import Tiny

TINY: dict[str, Tiny] = {
    # The paper's +Normalize and +Multilayer.
    "vlmlens_llava": Tiny(
        config={
            "vision_config": CLIP,
            "text_config": text("llama", num_key_value_heads=4),
            "vision_feature_layer": [1, 3],
            "feature_norm": True,
            "normalize": {"kind": "paper", "mean": 0.83, "most": 1.22, "eps": 1e-6},
        },
        pixels=PADDED_PIXELS,
        processor=WITH_CLS,
    ),
    # Pooled 2 x 2, as seen through coordinates, with registers after each image.
    "vlmlens_llava/tokens": Tiny(
        config={
            "vision_config": CLIP,
            "text_config": text("llama"),
            "normalize": {"kind": "match_mean", "mean": 0.9},
            "coordinates": True,
            "pool": 2,
            "registers": 3,
        },
        pixels=PADDED_PIXELS,
        processor=WITH_CLS | {"patch_size": 32, "num_additional_image_tokens": 7},
    ),
}
