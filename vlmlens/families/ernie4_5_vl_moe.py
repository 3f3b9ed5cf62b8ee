"""ERNIE 4.5 VL: Qwen2-VL's way with images; experts of their own for text and for images.

Of a video, too, two frames are one: the tower sees each, and the projector merges them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vlmlens.families.family import Pictures, Tap
from vlmlens.families.qwen2_vl import QWEN2_VL, merged_frames
from vlmlens.view import View

BLOCKS, PROJECTOR = "model.vision_tower.blocks", "model.resampler_model"
POINTS: Mapping[str, Tap | str] = {
    "vision.hook_embed": Tap(f"{BLOCKS}.0", "in", axes="patch d_model"),
    "projector.hook_in": Tap(PROJECTOR, "in", axes="patch d_model"),
    "projector.hook_out": Tap(PROJECTOR, "out", axes="patch d_model"),
}


def _kinds(text: Any) -> Sequence[str]:
    return ["experts" if kind == "sparse" else "" for kind in text.mlp_layer_types]


def _merged_by_projector(videos: Pictures) -> list[tuple[View, ...]]:
    counted = videos.tensors["video_grid_thw"]
    merged = counted // counted.new_tensor([videos.config.vision_config.temporal_merge_size, 1, 1])
    return merged_frames(replace(videos, tensors={**videos.tensors, "video_grid_thw": merged}))


ERNIE4_5_VL_MOE = replace(
    QWEN2_VL,
    videos=_merged_by_projector,
    model_type="ernie4_5_vl_moe",
    vision_layers=BLOCKS,
    projector=PROJECTOR,
    vision_rotary="model.vision_tower.rotary_pos_emb",
    points=POINTS,
    per_token={"mm_token_type_ids": (1, 0, 2), "moe_mm_token_type_ids": (1, 0, 2)},
    around_image={"moe_mm_token_type_ids": ("image_start_token_id", "image_end_token_id")},
    around_video={"moe_mm_token_type_ids": ("video_start_token_id", "video_end_token_id")},
    lm_kinds=_kinds,
)
