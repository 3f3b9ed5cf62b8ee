"""A tiny cohere_compass."""

from vlmlens.zoo.tiny.parts import text
from vlmlens.zoo.tiny.qwen_parts import QWEN3_TOWER, QWEN_FRAMES, QWEN_PIXELS, QWEN_TEXT, QWEN_TOWER
from vlmlens.zoo.tiny.tiny import Tiny

IMAGE, VIDEO = "<|IMAGE_PAD|>", "<|VIDEO_PAD|>"

TINY: dict[str, Tiny] = {
    # Every second layer sees everything and has no RoPE.
    "cohere_compass": Tiny(
        config={
            "vision_config": {"model_type": "cohere_compass_vision"} | QWEN_TOWER | QWEN3_TOWER,
            "text_config": text(
                "cohere_compass_text",
                head_dim=16,
                sliding_window=32,
                layer_types=["sliding_attention", "full_attention", "sliding_attention"],
                rope_parameters={
                    "sliding_attention": QWEN_TEXT["rope_parameters"],
                    "full_attention": None,
                },
                logit_scale=0.5,
            ),
        },
        pixels=("CohereCompassImageProcessorPil", QWEN_PIXELS[1]),
        image=f"<|VISION_START|>{IMAGE}<|VISION_END|>",
        frames=QWEN_FRAMES,
        video=VIDEO,
        tokens={"image_token": IMAGE, "video_token": VIDEO},
        plain=("<|VISION_START|>", "<|VISION_END|>"),
        ids={
            "image_token_id": IMAGE,
            "video_token_id": VIDEO,
            "vision_start_token_id": "<|VISION_START|>",
            "vision_end_token_id": "<|VISION_END|>",
        },
    ),
}
