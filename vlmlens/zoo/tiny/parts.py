"""Towers, language models and processors that tiny models share: small numbers."""

from typing import Any


def tower(kind: str, **settings: Any) -> dict[str, Any]:
    """A vision tower of small numbers."""
    usual = {
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
    }
    return {"model_type": kind} | usual | settings


def text(kind: str, **settings: Any) -> dict[str, Any]:
    """A language model of small numbers."""
    usual = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
    }
    return {"model_type": kind} | usual | settings


def square(side: int) -> dict[str, Any]:
    """A processor's size: a square."""
    return {"size": {"height": side, "width": side}}


CLIP = tower("clip_vision_model", num_hidden_layers=3, image_size=32, patch_size=8)

SIGLIP = tower("siglip_vision_model", image_size=32, patch_size=8, vision_use_head=False)

CLIP_PIXELS = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}

PADDED_PIXELS = ("LlavaImageProcessorPil", CLIP_PIXELS | {"do_pad": True})

WITH_CLS = {
    "patch_size": 8,
    "vision_feature_select_strategy": "default",
    "num_additional_image_tokens": 1,
}

# Every second layer sees everything and has no RoPE.
COHERE2 = text(
    "cohere2",
    sliding_window=8,
    layer_types=["sliding_attention", "full_attention", "sliding_attention"],
)

PINPOINTS = [[32, 64], [64, 32], [64, 64], [32, 96], [96, 32]]
