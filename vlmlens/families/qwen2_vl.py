"""Qwen2-VL: patches of all images in one row, merged two by two; time, height and width in RoPE.

Of a video two frames are one: the tower reads patches that go through both.
"""

from collections.abc import Mapping
from typing import Any

from vlmlens.errors import InputError
from vlmlens.families.family import Family, Pictures, Tap
from vlmlens.families.frames import frames
from vlmlens.families.geometry import whole
from vlmlens.view import View


def merged_grids(pictures: Pictures) -> list[tuple[View, ...]]:
    """Every image is one grid of merged patches, as ``image_grid_thw`` counts them."""
    merge = _merge(pictures)
    grids = pictures.tensors["image_grid_thw"].tolist()
    return [
        (View(rows // merge, columns // merge, whole(size)),)
        for (_, rows, columns), size in zip(grids, pictures.sizes, strict=True)
    ]


def merged_frames(videos: Pictures) -> list[tuple[View, ...]]:
    """Every two frames are one grid of merged patches, as ``video_grid_thw`` counts them."""
    merge = _merge(videos)
    counted = videos.tensors["video_grid_thw"].tolist()
    grids = [
        View(rows // merge, columns // merge, whole(size))
        for (_, rows, columns), size in zip(counted, videos.sizes, strict=True)
    ]
    return frames(videos, grids, [count for count, _, _ in counted])


def _merge(pictures: Pictures) -> int:
    """How many patches become one token, along each side.

    Raises:
        InputError: the model merges others than its processor counts with.
    """
    merge = pictures.config.vision_config.spatial_merge_size
    counted = getattr(pictures.processor, "merge_size", merge)
    if counted != merge:
        raise InputError(
            f"this processor counts with merge_size={counted}, and the model merges {merge} x "
            f"{merge} patches: open the model with its own processor"
        )
    return merge


def rope_index(model: Any, tensors: Mapping[str, Any]) -> Any:
    """Time, height and width of every position, by the model's own rule."""
    names = (
        *("input_ids", "mm_token_type_ids", "attention_mask"),
        *("image_grid_thw", "video_grid_thw", "second_per_grid_ts"),
    )
    ids, _ = model.model.get_rope_index(**{n: tensors[n] for n in names if n in tensors})
    return ids


#: Points that exist once, in a tower that packs all images into one row of patches.
PACKED = {
    "vision.hook_embed": Tap("model.visual.blocks.0", "in", axes="patch d_model"),
    "projector.hook_in": Tap("model.visual.merger", "in", axes="patch d_model"),
    "projector.hook_out": Tap("model.visual.merger", "out", axes="patch d_model"),
}

QWEN2_VL = Family(
    model_type="qwen2_vl",
    views=merged_grids,
    vision_layers="model.visual.blocks",
    projector="model.visual.merger",
    axes=("time", "height", "width"),
    vision_rotary="model.visual.rotary_pos_emb",
    points=PACKED,
    per_token={"mm_token_type_ids": (1, 0, 2)},
    positions=rope_index,
    videos=merged_frames,
)
