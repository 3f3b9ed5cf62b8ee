"""Qwen3.5: Qwen3-VL's tower; most of the LM's layers keep a running state instead of attending.

Where layers attend, what heads mixed is gated before it is read: ``attn.hook_z`` is gated.
"""

from dataclasses import replace

from vlmlens.families.qwen2_vl import QWEN2_VL

QWEN3_5 = replace(QWEN2_VL, model_type="qwen3_5")
QWEN3_5_MOE = replace(QWEN2_VL, model_type="qwen3_5_moe")
