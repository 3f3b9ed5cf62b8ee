"""What the Qwen-VL families' tiny models share."""

from collections.abc import Mapping
from typing import Any

from vlmlens.zoo.tiny.parts import text
from vlmlens.zoo.tiny.tiny import Tiny

QWEN_TOWER = {
    "depth": 2,
    "num_heads": 2,
    "patch_size": 4,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}

QWEN_TEXT = {
    "head_dim": 16,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "mrope_section": [2, 3, 3],
    },
}

QWEN_PIXELS = (
    "Qwen2VLImageProcessorPil",
    {"size": {"shortest_edge": 256, "longest_edge": 2048}, "patch_size": 4},
)

#: Of Qwen3-VL the sizes are of all frames together.
QWEN_FRAMES = {"size": {"shortest_edge": 256, "longest_edge": 16384}, "patch_size": 4}

QWEN_TOKENS = {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"}

QWEN_PLAIN = ("<|vision_start|>", "<|vision_end|>")

QWEN_IDS = {
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}


def qwen(kind: str, language: Mapping[str, Any] | None = None, **vision: Any) -> Tiny:
    """A tiny model of one of the Qwen-VL families."""
    # Without a head_dim of their own, wide heads have to be few.
    heads = (
        {} if kind.startswith("qwen3_vl") else {"num_attention_heads": 2, "num_key_value_heads": 1}
    )
    films: dict[str, Any] = {
        "frames": QWEN_FRAMES,
        "video": "<|vision_start|><|video_pad|><|vision_end|>",
    }
    return Tiny(
        config={
            "vision_config": {"model_type": f"{kind}_vision"} | QWEN_TOWER | vision,
            "text_config": text(f"{kind}_text", **QWEN_TEXT | heads | dict(language or {})),
        },
        pixels=QWEN_PIXELS,
        image="<|vision_start|><|image_pad|><|vision_end|>",
        tokens=QWEN_TOKENS,
        plain=QWEN_PLAIN,
        ids=QWEN_IDS,
        **films,
    )


QWEN3_TOWER = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "out_hidden_size": 32,
    "num_position_embeddings": 64,
    "deepstack_visual_indexes": [0],
}
