"""A tiny qwen3_5_moe."""

from vlmlens.zoo.tiny.families.qwen3_5 import LINEAR, TOWER
from vlmlens.zoo.tiny.families.qwen3_vl_moe import EXPERTS
from vlmlens.zoo.tiny.qwen_parts import qwen
from vlmlens.zoo.tiny.tiny import Tiny

TINY: dict[str, Tiny] = {
    "qwen3_5_moe": qwen(
        "qwen3_5_moe", LINEAR | EXPERTS | {"shared_expert_intermediate_size": 24}, **TOWER
    ),
}
