"""What the tiny models of Qwen2.5-Omni and Qwen3-Omni share."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vlmlens.zoo.tiny.qwen_parts import QWEN_IDS, QWEN_PLAIN, QWEN_TOKENS, qwen
from vlmlens.zoo.tiny.tiny import Tiny

#: A tower for sound, which no test listens to.
SOUND: Mapping[str, Any] = {
    "d_model": 16,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "encoder_layers": 1,
    "num_mel_bins": 8,
    "output_dim": 32,
}


def omni(kind: str, language: Mapping[str, Any], **vision: Any) -> Tiny:
    """A tiny thinker, ``kind`` being what its parts' model types begin with."""
    seen = qwen(kind, language, **vision)
    vision_config = seen.config["vision_config"] | {"model_type": f"{kind}_vision_encoder"}
    sound = {"model_type": f"{kind}_audio_encoder", **SOUND}
    return replace(
        seen,
        config={**seen.config, "vision_config": vision_config, "audio_config": sound},
        parts={"feature_extractor": "WhisperFeatureExtractor"},
        tokens=QWEN_TOKENS
        | {
            "audio_token": "<|audio_pad|>",
            "audio_bos_token": "<|audio_start|>",
            "audio_eos_token": "<|audio_end|>",
            "vision_bos_token": QWEN_PLAIN[0],
            "vision_eos_token": QWEN_PLAIN[1],
        },
        plain=(),
        ids=QWEN_IDS
        | {"audio_token_id": "<|audio_pad|>", "audio_start_token_id": "<|audio_start|>"},
    )
