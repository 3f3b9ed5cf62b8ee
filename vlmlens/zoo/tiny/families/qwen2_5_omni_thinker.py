"""A tiny qwen2_5_omni_thinker."""

from vlmlens.zoo.tiny.omni_parts import omni
from vlmlens.zoo.tiny.tiny import Tiny

TINY: dict[str, Tiny] = {
    "qwen2_5_omni_thinker": omni(
        "qwen2_5_omni",
        {},
        hidden_size=24,
        intermediate_size=40,
        out_hidden_size=32,
        window_size=16,
        fullatt_block_indexes=[1],
    ),
}
