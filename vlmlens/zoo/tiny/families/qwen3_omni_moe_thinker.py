"""A tiny qwen3_omni_moe_thinker."""

from vlmlens.zoo.tiny.families.qwen3_vl_moe import EXPERTS
from vlmlens.zoo.tiny.omni_parts import omni
from vlmlens.zoo.tiny.qwen_parts import QWEN3_TOWER
from vlmlens.zoo.tiny.tiny import Tiny

TINY: dict[str, Tiny] = {
    "qwen3_omni_moe_thinker": omni(
        "qwen3_omni_moe", EXPERTS | {"mlp_only_layers": [1]}, **QWEN3_TOWER
    ),
}
