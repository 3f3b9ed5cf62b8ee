"""GLM-4.1V and its kin: Qwen2-VL's way with images; partial RoPE; norms around every sublayer.

A video's frames are so many images, each with its second after it.

GLM-4.6V has the same parts, GLM-4.5V a language model of experts behind a few dense layers, and
GLM-OCR a small tower that norms queries and keys.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from vlmlens.families.qwen2_vl import QWEN2_VL


def _kinds(text: Any) -> Sequence[str]:
    dense = text.first_k_dense_replace
    return ["" if layer < dense else "experts" for layer in range(text.num_hidden_layers)]


GLM4V = replace(
    QWEN2_VL,
    model_type="glm4v",
    video_token="image_token_id",
    unmixed="both stand by one token, and transformers' forward pass takes one for the other",
)
GLM46V = replace(GLM4V, model_type="glm46v")
GLM4V_MOE = replace(GLM4V, model_type="glm4v_moe", lm_kinds=_kinds)
GLM_OCR = replace(GLM4V, model_type="glm_ocr")
