"""A tiny lfm2_vl."""

from vlmlens.zoo.tiny.parts import text, tower
from vlmlens.zoo.tiny.tiny import Tiny

TINY: dict[str, Tiny] = {
    # transformers' image processor needs torchvision: ours stands in.
    "lfm2_vl": Tiny(
        config={
            "vision_config": tower("siglip2_vision_model", num_patches=64, patch_size=4)
            | {"vision_use_head": False},
            "text_config": text(
                "lfm2",
                num_hidden_layers=4,
                layer_types=["full_attention", "full_attention", "conv", "full_attention"],
            ),
            "projector_hidden_size": 40,
        },
        pixels=(
            "Lfm2Pixels",
            {
                "encoder_patch_size": 4,
                "tile_size": 32,
                "min_image_tokens": 4,
                "max_image_tokens": 16,
                "max_tiles": 6,
            },
        ),
        plain=(
            "<|image_start|>",
            "<|image_end|>",
            "<|img_thumbnail|>",
            *(f"<|img_row_{row}_col_{column}|>" for row in range(1, 7) for column in range(1, 7)),
        ),
    ),
}
