"""GLM-4.1V: Qwen2-VL's way with images; norms on both sides of every sublayer; partial RoPE."""

from dataclasses import replace

from vlmlens.families.qwen2_vl import QWEN2_VL

GLM4V = replace(QWEN2_VL, model_type="glm4v")
