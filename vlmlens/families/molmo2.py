"""Molmo 2: a small copy of the image, then the image in tiles that overlap; patches in pools.

Two layers of the tower are read together, and what the projector makes of a pool is ADDED to the
embedding of its token. All that belongs to images sees all of it, in both directions. A video's
frames are small copies, each with its second before it; their patches have pools of another size.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

from vlmlens.families.family import Family, Pictures, Tap
from vlmlens.families.frames import frames
from vlmlens.families.geometry import whole
from vlmlens.view import View


def _views(pictures: Pictures) -> list[tuple[View, ...]]:
    """The small copy and the tiles together."""
    grids = pictures.tensors["image_grids"].tolist()
    pools = pictures.tensors["image_token_pooling"]
    found: list[tuple[View, ...]] = []
    start = 0
    for (*small, rows, columns), size in zip(grids, pictures.sizes, strict=True):
        views = []
        for down, across, copied in ((*small, True), (rows, columns, False)):
            own = pools[start : start + down * across].reshape(down, across, -1)
            start += down * across
            views.append(_grid(own, size, copied))
        found.append(tuple(views))
    return found


def _grid(pools: Any, size: tuple[int, int] | None, copied: bool) -> View:
    """A grid of pools (row column patch); those at its edges may lack patches."""
    rows, columns, each = pools.shape
    side = round(each**0.5)
    there = (pools >= 0).reshape(rows, columns, side, side)
    width, height = size or (0, 0)
    across = _edges(there.any(2).any(0).sum(1).tolist(), width)
    down = _edges(there.any(3).any(1).sum(1).tolist(), height)
    return View(rows, columns, whole(size), thumbnail=copied, across=across, down=down)


def _edges(patches: Sequence[int], length: int | float) -> tuple[tuple[float, float], ...]:
    """Both edges of pools that hold so many of a length's patches, one after the other."""
    ends = accumulate(patches, initial=0)
    return tuple(pairwise(length * end / sum(patches) for end in ends))


def _copied_frames(videos: Pictures) -> list[tuple[View, ...]]:
    """Of every video, its frames' small copies: all are pooled alike."""
    counted = videos.tensors["video_grids"].tolist()
    pools = videos.tensors["video_token_pooling"]
    starts = accumulate((count * rows * columns for count, rows, columns in counted), initial=0)
    grids = []
    for start, (_, rows, columns), size in zip(starts, counted, videos.sizes, strict=False):
        first = pools[start : start + rows * columns].reshape(rows, columns, -1)
        grids.append(_grid(first, size, copied=False))
    return frames(videos, grids, [count for count, _, _ in counted])


def _deepest(config: Any) -> int:
    """Blocks up to the deeper of the layers that are read together."""
    depth = config.vision_config.num_hidden_layers
    return max(layer % depth for layer in config.adapter_config.vision_feature_layer) + 1


def _kinds(text: Any) -> Sequence[str]:
    return ["norms after" if text.norm_after else ""] * text.num_hidden_layers


def _rotaries(text: Any) -> Sequence[str]:
    """Layers outside ``rope_scaling_layers`` turn by a table of their own."""
    scaled = set(text.rope_scaling_layers)
    usual = "model.language_model.rotary_emb"
    return [usual if n in scaled else f"{usual}_unscaled" for n in range(text.num_hidden_layers)]


MOLMO2 = Family(
    model_type="molmo2",
    views=_views,
    vision_layers="model.vision_tower.layers",
    projector="model.multi_modal_projector.image_projector",
    points={
        "projector.hook_in": Tap("model.multi_modal_projector", "in"),
        "projector.hook_out": Tap(
            "model.multi_modal_projector.image_projector", "out", axes="patch d_model"
        ),
    },
    vision_used=_deepest,
    lm_kinds=_kinds,
    rotaries=_rotaries,
    per_token={"mm_token_type_ids": (1, 0)},
    within_image={
        "mm_token_type_ids": (
            ("image_start_token_id", "low_res_image_start_token_id", "frame_start_token_id"),
            ("image_end_token_id", "frame_end_token_id"),
        )
    },
    counting={
        "image_token_pooling": "pixel_values",
        "video_token_pooling": "pixel_values_videos",
    },
    videos=_copied_frames,
    video_token="image_token_id",
    unmixed="transformers' forward pass takes one of them and no more",
)
