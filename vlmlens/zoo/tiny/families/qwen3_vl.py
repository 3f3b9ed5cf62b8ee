"""A tiny qwen3_vl."""

from vlmlens.zoo.tiny.qwen_parts import QWEN3_TOWER, qwen
from vlmlens.zoo.tiny.tiny import Tiny

TINY: dict[str, Tiny] = {
    "qwen3_vl": qwen("qwen3_vl", **QWEN3_TOWER),
}
