"""Tiny models of gemma4."""

from typing import Any

from vlmlens.zoo.tiny.parts import text, tower
from vlmlens.zoo.tiny.tiny import Tiny

GEMMA4_TOKENS = {
    "image_token": "<|image|>",
    "boi_token": "<|image>",
    "eoi_token": "<image|>",
    "audio_token": "<|audio|>",
    "boa_token": "<|audio>",
    "eoa_token": "<audio|>",
}


def _gemma4(**language: Any) -> Tiny:
    return Tiny(
        config={
            "vision_config": tower("gemma4_vision", num_key_value_heads=3, head_dim=8)
            | {"patch_size": 4, "pooling_kernel_size": 2, "position_embedding_size": 64},
            "text_config": text(
                "gemma4_text",
                num_hidden_layers=4,
                layer_types=["sliding_attention", "full_attention"] * 2,
                sliding_window=8,
                head_dim=8,
                global_head_dim=16,
                **language,
            ),
        },
        pixels=(
            "Gemma4ImageProcessorPil",
            {"patch_size": 4, "pooling_kernel_size": 2, "max_soft_tokens": 70},
        ),
        image="<|image|>",
        frames={
            "patch_size": 4,
            "pooling_kernel_size": 2,
            "max_soft_tokens": 70,
            "do_sample_frames": False,
        },
        video="<|video|>",
        parts={"feature_extractor": "Gemma4AudioFeatureExtractor"},
        tokens=GEMMA4_TOKENS,
        plain=("<|video|>",),
        ids={
            "image_token_id": "<|image|>",
            "boi_token_id": "<|image>",
            "eoi_token_id": "<image|>",
            "video_token_id": "<|video|>",
            "audio_token_id": "<|audio|>",
            "boa_token_id": "<|audio>",
            "eoa_token_index": "<audio|>",
        },
    )


TINY: dict[str, Tiny] = {
    # Late layers read earlier ones' keys; wide heads in half of the layers; per-layer embeddings.
    "gemma4": _gemma4(
        hidden_size_per_layer_input=4, vocab_size_per_layer_input=400, num_kv_shared_layers=2
    ),
    # Keys are values before their norms; experts beside the MLP; images see themselves both ways.
    "gemma4/experts": _gemma4(
        hidden_size_per_layer_input=0,
        num_global_key_value_heads=1,
        attention_k_eq_v=True,
        use_bidirectional_attention="vision",
        enable_moe_block=True,
        num_experts=4,
        top_k_experts=2,
        moe_intermediate_size=24,
    ),
}
