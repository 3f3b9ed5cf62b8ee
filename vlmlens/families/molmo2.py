"""Molmo 2: a small copy of the image, then the image in tiles that overlap; patches in pools.

Two layers of the tower are read together, and what the projector makes of a pool is ADDED to the
embedding of its token. All that belongs to images sees all of it, in both directions.
"""

from collections.abc import Sequence
from typing import Any

from vlmlens.families.family import Family, Pictures, Tap
from vlmlens.families.geometry import first, whole
from vlmlens.view import View


def _views(pictures: Pictures) -> list[tuple[View, ...]]:
    """The small copy and the tiles together: of an odd row of patches the last pool is half."""
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
    """A grid of pools (row column patch); those at the end may lack patches."""
    rows, columns, each = pools.shape
    side = round(each**0.5)
    there = (pools >= 0).reshape(rows, columns, side, side)
    down = int(there[:, 0, :, 0].sum())
    across = int(there[0, :, 0].sum())
    box = first(whole(size), columns * side / across, rows * side / down)
    return View(rows, columns, box, thumbnail=copied)


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
            ("image_start_token_id", "low_res_image_start_token_id"),
            ("image_end_token_id",),
        )
    },
    counting={"image_token_pooling": "pixel_values"},
)
