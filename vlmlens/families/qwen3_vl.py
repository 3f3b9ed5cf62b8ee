"""Qwen3-VL: features of several tower layers, each added to the stream after an early block."""

from dataclasses import replace

from vlmlens.families.qwen2_vl import QWEN2_VL

QWEN3_VL = replace(QWEN2_VL, model_type="qwen3_vl", deepstack="model.visual.deepstack_merger_list")
QWEN3_VL_MOE = replace(QWEN3_VL, model_type="qwen3_vl_moe")
