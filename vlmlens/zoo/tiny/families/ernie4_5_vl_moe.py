"""A tiny ernie4_5_vl_moe."""

from vlmlens.zoo.tiny.parts import text
from vlmlens.zoo.tiny.qwen_parts import QWEN_FRAMES, QWEN_PIXELS, QWEN_TEXT, QWEN_TOWER
from vlmlens.zoo.tiny.tiny import Tiny

TINY: dict[str, Tiny] = {
    # A dense layer, then two of experts.
    "ernie4_5_vl_moe": Tiny(
        config={
            "vision_config": {"model_type": "ernie4_5_vl_moe_vision", "hidden_size": 24}
            | {name: size for name, size in QWEN_TOWER.items() if name != "temporal_patch_size"}
            | {"intermediate_size": 40},
            "text_config": text(
                "ernie4_5_vl_moe_text",
                rope_parameters=QWEN_TEXT["rope_parameters"] | {"mrope_section": [3, 3, 2]},
                num_attention_heads=2,
                num_key_value_heads=1,
                moe_k=2,
                moe_num_experts=4,
                moe_num_shared_experts=1,
                moe_intermediate_size=[24, 16],
            ),
        },
        pixels=("Ernie4_5_VLMoeImageProcessorPil", QWEN_PIXELS[1]),
        image="<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>",
        # Times are drawn with a font that comes with the checkpoint.
        frames=QWEN_FRAMES | {"min_frames": 2, "draw_on_frames": False},
        video="<|VIDEO_START|><|VIDEO_PLACEHOLDER|><|VIDEO_END|>",
        tokens={
            "image_token": "<|IMAGE_PLACEHOLDER|>",
            "image_start_token": "<|IMAGE_START|>",
            "image_end_token": "<|IMAGE_END|>",
            "video_token": "<|VIDEO_PLACEHOLDER|>",
            "video_start_token": "<|VIDEO_START|>",
            "video_end_token": "<|VIDEO_END|>",
        },
        ids={
            "image_token_id": "<|IMAGE_PLACEHOLDER|>",
            "image_start_token_id": "<|IMAGE_START|>",
            "image_end_token_id": "<|IMAGE_END|>",
            "video_token_id": "<|VIDEO_PLACEHOLDER|>",
            "video_start_token_id": "<|VIDEO_START|>",
            "video_end_token_id": "<|VIDEO_END|>",
        },
    ),
}
