"""EXAONE 4.5: Qwen2.5-VL's tower with grouped heads; blocks that norm only what they write.

Positions are numbered one after the other, and layers that see everything do not rotate.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from vlmlens.families.family import count
from vlmlens.families.qwen2_5_vl import QWEN2_5_VL


def _kinds(text: Any) -> Sequence[str]:
    """Without windows every layer rotates."""
    everything = text.sliding_window is None
    rotates = [everything or kind == "sliding_attention" for kind in text.layer_types]
    return ["" if here else "unrotated" for here in rotates]


EXAONE4_5 = replace(
    QWEN2_5_VL,
    model_type="exaone4_5",
    axes=("position",),
    positions=count,
    per_token={},
    lm_kinds=_kinds,
)
