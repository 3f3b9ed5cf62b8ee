"""GLM-4.1V and its kin: Qwen2-VL's way with images; partial RoPE; norms around every sublayer.

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


GLM4V = replace(QWEN2_VL, model_type="glm4v", videos=None)
GLM46V = replace(QWEN2_VL, model_type="glm46v", videos=None)
GLM4V_MOE = replace(QWEN2_VL, model_type="glm4v_moe", lm_kinds=_kinds, videos=None)
GLM_OCR = replace(QWEN2_VL, model_type="glm_ocr", videos=None)
