"""A tiny qwen2_vl."""

from vlmlens.zoo.tiny.qwen_parts import qwen
from vlmlens.zoo.tiny.tiny import Tiny

TINY: dict[str, Tiny] = {
    "qwen2_vl": qwen("qwen2_vl", embed_dim=24, hidden_size=32),
}
