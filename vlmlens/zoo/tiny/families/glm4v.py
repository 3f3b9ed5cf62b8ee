"""Tiny models of GLM-4.1V and its kin."""

from collections.abc import Mapping
from typing import Any

from vlmlens.zoo.tiny.parts import text
from vlmlens.zoo.tiny.qwen_parts import QWEN_PIXELS, QWEN_TEXT, QWEN_TOWER
from vlmlens.zoo.tiny.tiny import Tiny


def _glm(tower: str, language: str, pixels: str, **further: Any) -> Tiny:
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

TINY: dict[str, Tiny] = {
    "glm4v": _glm("glm4v_vision", "glm4v_text", "Glm4vImageProcessorPil"),
    "glm46v": _glm("glm4v_vision", "glm4v_text", "Glm46VImageProcessorPil"),
    "glm4v_moe": _glm("glm4v_moe_vision", "glm4v_moe_text", "Glm4vImageProcessorPil", **EXPERTS),
    "glm_ocr": _glm("glm_ocr_vision", "glm_ocr_text", "Glm46VImageProcessorPil"),
}
