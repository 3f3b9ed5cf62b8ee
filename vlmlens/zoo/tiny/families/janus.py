"""A tiny janus."""

from vlmlens.zoo.tiny.parts import square, text, tower
from vlmlens.zoo.tiny.tiny import Tiny

TINY: dict[str, Tiny] = {
    "janus": Tiny(
        config={
            "vision_config": tower("janus_vision_model", image_size=32, patch_size=8)
            | {"projection_dim": 32},
            "text_config": text("llama"),
            "vq_config": {
                "model_type": "janus_vqgan",
                "base_channels": 32,
                "channel_multiplier": [1, 1],
                "num_res_blocks": 1,
                "latent_channels": 32,
                "num_embeddings": 16,
                "projection_dim": 32,
                "image_token_embed_dim": 32,
            },
        },
        pixels=("JanusImageProcessorPil", square(32) | {"min_size": 8}),
        processor={"num_image_tokens": 16},
        tokens={"boi_token": "<begin_of_image>", "eoi_token": "<end_of_image>"},
    ),
}
