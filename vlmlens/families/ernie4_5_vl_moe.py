"""ERNIE 4.5 VL: Qwen2-VL's way with images; experts of their own for text and for images."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vlmlens.families.family import Tap
from vlmlens.families.qwen2_vl import QWEN2_VL

BLOCKS, PROJECTOR = "model.vision_tower.blocks", "model.resampler_model"
POINTS: Mapping[str, Tap | str] = {
    "vision.hook_embed": Tap(f"{BLOCKS}.0", "in", axes="patch d_model"),
    "projector.hook_in": Tap(PROJECTOR, "in", axes="patch d_model"),
    "projector.hook_out": Tap(PROJECTOR, "out", axes="patch d_model"),
}


def _kinds(text: Any) -> Sequence[str]:
    return ["experts" if kind == "sparse" else "" for kind in text.mlp_layer_types]


ERNIE4_5_VL_MOE = replace(
    QWEN2_VL,
    videos=None,
    model_type="ernie4_5_vl_moe",
    vision_layers=BLOCKS,
    projector=PROJECTOR,
    vision_rotary="model.vision_tower.rotary_pos_emb",
    points=POINTS,
    per_token={"mm_token_type_ids": (1, 0), "moe_mm_token_type_ids": (1, 0)},
    around_image={"moe_mm_token_type_ids": ("image_start_token_id", "image_end_token_id")},
    lm_kinds=_kinds,
)
