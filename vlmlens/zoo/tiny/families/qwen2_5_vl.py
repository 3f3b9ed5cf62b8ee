"""A tiny qwen2_5_vl."""

from vlmlens.zoo.tiny.qwen_parts import qwen
from vlmlens.zoo.tiny.tiny import Tiny

TINY: dict[str, Tiny] = {
    "qwen2_5_vl": qwen(
        "qwen2_5_vl",
        hidden_size=24,
        intermediate_size=40,
        out_hidden_size=32,
        window_size=16,
        fullatt_block_indexes=[1],
    ),
}
