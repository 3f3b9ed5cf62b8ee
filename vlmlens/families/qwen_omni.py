"""The part of Qwen2.5-Omni and Qwen3-Omni that reads and answers: Qwen2.5-VL and Qwen3-VL's parts.

Both call it the thinker. What speaks, and the tower for sound, are not watched.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vlmlens.families.qwen2_5_vl import QWEN2_5_VL
from vlmlens.families.qwen3_vl import QWEN3_VL_MOE

#: Inputs that say where what is seen stands, and what the rule of positions calls them.
SAID = {
    "input_ids": "input_ids",
    "attention_mask": "attention_mask",
    "image_grid_thw": "image_grid_thw",
    "video_grid_thw": "video_grid_thw",
    "video_second_per_grid": "second_per_grids",
}


def _rope_index(model: Any, tensors: Mapping[str, Any]) -> Any:
    """Time, height and width of every position, by the model's own rule."""
    said = {own: tensors[name] for name, own in SAID.items() if name in tensors}
    ids, _ = model.model.get_rope_index(**said)
    return ids


QWEN2_5_OMNI = replace(
    QWEN2_5_VL, model_type="qwen2_5_omni_thinker", positions=_rope_index, per_token={}
)
QWEN3_OMNI = replace(
    QWEN3_VL_MOE, model_type="qwen3_omni_moe_thinker", positions=_rope_index, per_token={}
)
