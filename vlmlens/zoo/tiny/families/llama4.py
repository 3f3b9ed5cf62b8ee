"""A tiny llama4."""

from vlmlens.zoo.tiny.parts import text, tower
from vlmlens.zoo.tiny.tiny import Tiny

TINY: dict[str, Tiny] = {
    # Dense layers and experts, with RoPE and without. transformers' image processor needs
    # torchvision: ours stands in.
    "llama4": Tiny(
        config={
            "vision_config": tower("llama4_vision_model", hidden_size=32, num_attention_heads=2)
            | {"image_size": 32, "patch_size": 8, "vision_output_dim": 20}
            | {"intermediate_size": 128, "projector_input_dim": 20, "projector_output_dim": 20},
            "text_config": text(
                "llama4_text",
                num_hidden_layers=4,
                head_dim=8,
                intermediate_size_mlp=40,
                moe_layers=[1, 3],
                no_rope_layers=[1, 1, 0, 0],
                num_local_experts=4,
                attention_chunk_size=16,
            ),
        },
        pixels=("Llama4Pixels", {"side": 32, "max_patches": 6}),
        image="<|image|>",
        processor={"patch_size": 8},
        plain=(
            "<|image|>",
            "<|image_start|>",
            "<|image_end|>",
            "<|patch|>",
            "<|tile_x_separator|>",
            "<|tile_y_separator|>",
        ),
        ids={"image_token_id": "<|patch|>"},
    ),
}
