"""North Vision (``cohere_compass``): Qwen3-VL's way with images; Command A's parallel blocks."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from vlmlens.families.qwen3_vl import QWEN3_VL


def _kinds(text: Any) -> Sequence[str]:
    """Layers of a type that the configuration gives no RoPE do not rotate."""
    return ["" if text.rope_parameters[kind] else "unrotated" for kind in text.layer_types]


def _scale(config: Any) -> float:
    scale = config.text_config.logit_scale
    return 1.0 if scale is None else scale


COHERE_COMPASS = replace(QWEN3_VL, model_type="cohere_compass", lm_kinds=_kinds, logit_scale=_scale)
