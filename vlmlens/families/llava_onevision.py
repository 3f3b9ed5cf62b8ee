"""LLaVA-OneVision: LLaVA-NeXT's tiles, pooled when they are many; several images are not tiled."""

import math
from dataclasses import replace

from vlmlens.families.family import Family, Pictures
from vlmlens.families.geometry import whole
from vlmlens.families.llava import deepest_selected
from vlmlens.families.llava_next import best_canvas, unpadded
from vlmlens.layout import View


def _views(pictures: Pictures) -> list[tuple[View, ...]]:
    config = pictures.config
    patch = config.vision_config.patch_size
    side = config.vision_config.image_size // patch
    most = int(config.vision_aspect_ratio.removeprefix("anyres_max_"))
    together = pictures.tensors.get("batch_num_images")
    alone = [True] * len(pictures.sizes)
    if together is not None:
        alone = [n == 1 for n in together.tolist() for _ in range(n)]
    found: list[tuple[View, ...]] = []
    sizes = pictures.tensors["image_sizes"].tolist()
    for (height, width), tiled in zip(sizes, alone, strict=True):
        box = whole((width, height))
        if not tiled:
            found.append((View(side, side, box, newlines="last"),))
            continue
        canvas = best_canvas((width, height), config.image_grid_pinpoints)
        big = unpadded((width, height), canvas, patch)
        ratio = math.sqrt(big.rows * big.columns / (most * side**2))
        if ratio > 1.1:  # interpolated to fewer rows and columns
            big = replace(big, rows=int(big.rows // ratio), columns=int(big.columns // ratio))
        found.append((View(side, side, box, thumbnail=True), big))
    return found


LLAVA_ONEVISION = Family(
    model_type="llava_onevision",
    views=_views,
    vision_used=deepest_selected,
    per_sample=("batch_num_images",),
)
