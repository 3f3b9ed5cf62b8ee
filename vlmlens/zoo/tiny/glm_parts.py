"""What the tiny models of GLM-4.1V and its kin share."""

from collections.abc import Mapping
from typing import Any

from vlmlens.zoo.tiny.parts import text
from vlmlens.zoo.tiny.qwen_parts import QWEN_FRAMES, QWEN_PIXELS, QWEN_TEXT, QWEN_TOWER
from vlmlens.zoo.tiny.tiny import Tiny


def glm(tower: str, language: str, pixels: str, **further: Any) -> Tiny:
    """A tiny model of GLM-4.1V or its kin."""
    return Tiny(
        config={
            "vision_config": {"model_type": tower, "hidden_size": 24, "image_size": 32}
            | QWEN_TOWER
            | {"out_hidden_size": 32, "intermediate_size": 40},
            "text_config": text(
                language,
                head_dim=32,
                hidden_size=32,
                rope_parameters=QWEN_TEXT["rope_parameters"] | {"partial_rotary_factor": 0.5},
                num_attention_heads=2,
                num_key_value_heads=1,
                **further,
            ),
        },
        pixels=(pixels, QWEN_PIXELS[1]),
        image="<|begin_of_image|><|image|><|end_of_image|>",
        frames=QWEN_FRAMES,
        video="<|begin_of_video|><|video|><|end_of_video|>",
        tokens={"image_token": "<|image|>", "video_token": "<|video|>"},
        plain=("<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>"),
        ids={
            "image_token_id": "<|image|>",
            "video_token_id": "<|video|>",
            "image_start_token_id": "<|begin_of_image|>",
            "image_end_token_id": "<|end_of_image|>",
            "video_start_token_id": "<|begin_of_video|>",
            "video_end_token_id": "<|end_of_video|>",
        },
    )


#: A dense layer, then experts, two of which every token has, and one that all share.
EXPERTS: Mapping[str, Any] = {
    "first_k_dense_replace": 1,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
}
