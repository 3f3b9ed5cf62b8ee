"""A tiny video_llama_3."""

from vlmlens.zoo.tiny.families.paddleocr_vl import IMAGE, SIZES
from vlmlens.zoo.tiny.parts import text, tower
from vlmlens.zoo.tiny.qwen_parts import QWEN_FRAMES, QWEN_PLAIN, QWEN_TOKENS
from vlmlens.zoo.tiny.tiny import Tiny

TINY: dict[str, Tiny] = {
    "video_llama_3": Tiny(
        config={
            "vision_config": tower("video_llama_3_vision", patch_size=4),
            "text_config": text("qwen2"),
        },
        pixels=("VideoLlama3ImageProcessorPil", SIZES | {"merge_size": 2}),
        image=IMAGE,
        frames=QWEN_FRAMES,
        video="<|vision_start|><|video_pad|><|vision_end|>",
        tokens=QWEN_TOKENS,
        plain=QWEN_PLAIN,
        ids={"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"},
    ),
}
