"""A tiny qwen3_vl_moe."""

from vlmlens.zoo.tiny.qwen_parts import QWEN3_TOWER, qwen
from vlmlens.zoo.tiny.tiny import Tiny

EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}

TINY: dict[str, Tiny] = {
    # Experts in two layers of three.
    "qwen3_vl_moe": qwen("qwen3_vl_moe", EXPERTS | {"mlp_only_layers": [1]}, **QWEN3_TOWER),
}
