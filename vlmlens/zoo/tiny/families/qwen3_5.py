"""A tiny qwen3_5."""

from vlmlens.zoo.tiny.qwen_parts import QWEN3_TOWER, QWEN_TEXT, qwen
from vlmlens.zoo.tiny.tiny import Tiny

#: One layer of four has linear attention; RoPE rotates half of a head.
LINEAR = {
    "num_hidden_layers": 4,
    "layer_types": ["full_attention"] * 2 + ["linear_attention", "full_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "rope_parameters": QWEN_TEXT["rope_parameters"]
    | {"mrope_section": [2, 1, 1], "partial_rotary_factor": 0.5},
}
TOWER = {name: size for name, size in QWEN3_TOWER.items() if name != "deepstack_visual_indexes"}

TINY: dict[str, Tiny] = {
    "qwen3_5": qwen("qwen3_5", LINEAR, **TOWER),
}
