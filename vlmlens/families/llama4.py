"""Llama 4: tiles of a padded canvas, then a small copy; RoPE in complex numbers; experts.

Queries and keys are normed after RoPE, so ``attn.hook_rot_q`` and ``attn.hook_rot_k`` are
rotated and normed.
"""

import math
from collections.abc import Sequence
from typing import Any

from vlmlens.families.family import Family, Pictures, Tap
from vlmlens.families.geometry import Box, blank, tiles, whole
from vlmlens.view import View


def canvas(size: tuple[int, int], rows: int, columns: int, side: int) -> Box:
    """What a canvas of tiles shows of an image in its corner, enlarged to one tile at most."""
    room = [min(max(n, side), most * side) for n, most in zip(size, (columns, rows), strict=True)]
    across, down = room[0] / size[0], room[1] / size[1]
    if across < down:
        width, height = room[0], min(math.floor(size[1] * across), room[1])
    else:
        width, height = min(math.floor(size[0] * down), room[0]), room[1]
    return 0.0, 0.0, columns * side * size[0] / width, rows * side * size[1] / height


def _views(pictures: Pictures) -> list[tuple[View, ...]]:
    vision = pictures.config.vision_config
    pixels = vision.image_size
    side = int(pixels // vision.patch_size * vision.pixel_shuffle_ratio)
    if pictures.tensors["pixel_values"].shape[0] == len(pictures.sizes):
        boxes = [None if size is None else canvas(size, 1, 1, pixels) for size in pictures.sizes]
        return [(View(side, side, box),) for box in boxes]
    found: list[tuple[View, ...]] = []
    for size in pictures.originals():
        # How many tiles is not among the tensors; a blank image is cut in the same way.
        made = pictures.processor(blank(size), return_tensors="pt")["aspect_ratios"]
        rows, columns = (int(n) for n in made[0])
        cut = tiles(canvas(size, rows, columns, pixels), rows, columns)
        views = [View(side, side, box) for box in cut]
        small = View(side, side, whole(size), thumbnail=True)
        found.append((*views, small) if len(views) > 1 else (*views,))
    return found


def _kinds(text: Any) -> Sequence[str]:
    rotates = text.no_rope_layers[: text.num_hidden_layers]  # 1 where a layer has RoPE
    return [
        ("rotated" if here else "unrotated") + (" experts" if layer in text.moe_layers else "")
        for layer, here in enumerate(rotates)
    ]


LLAMA4 = Family(
    model_type="llama4",
    unlike={"rotation": "does not apply: queries and keys are normed after RoPE"},
    views=_views,
    vision_layers="vision_model.model.layers",
    projector="multi_modal_projector",
    lm_layers="language_model.model.layers",
    final_norm="language_model.model.norm",
    lm_head="language_model.lm_head",
    rotary="language_model.model.rotary_emb",
    lm_kinds=_kinds,
    points={
        "projector.hook_in": Tap("multi_modal_projector", "in", axes="patch d_model"),
        "projector.hook_out": Tap("multi_modal_projector", "out", axes="patch d_model"),
    },
)
