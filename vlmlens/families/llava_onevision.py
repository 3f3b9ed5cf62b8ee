"""LLaVA-OneVision: LLaVA-NeXT's tiles, pooled when they are many; several images are not tiled.

A video's frames are not tiled either, and have half as many rows and columns; one newline ends the
whole video.
"""

from dataclasses import replace

from vlmlens.families.family import Family, Pictures
from vlmlens.families.frames import square_frames
from vlmlens.families.geometry import first, in_square, whole
from vlmlens.families.llava import deepest_selected
from vlmlens.families.llava_next import best_canvas, tile_of, unpadded
from vlmlens.view import View


def _views(pictures: Pictures) -> list[tuple[View, ...]]:
    config, tile = pictures.config, tile_of(pictures)
    side, share = tile.side, tile.share
    most = int(config.vision_aspect_ratio.removeprefix("anyres_max_")) * side**2
    together = pictures.tensors.get("batch_num_images")
    alone = [True] * len(pictures.sizes)
    if together is not None:
        alone = [n == 1 for n in together.tolist() for _ in range(n)]
    found: list[tuple[View, ...]] = []
    sizes = pictures.tensors["image_sizes"].tolist()
    for (height, width), tiled in zip(sizes, alone, strict=True):
        size = width, height
        if not tiled:
            found.append((View(side, side, first(in_square(size), share), newlines="last"),))
            continue
        small = View(side, side, first(whole(size), share), thumbnail=True)
        big = unpadded(size, best_canvas(size, config.image_grid_pinpoints), tile, most)
        found.append((small, big))
    return found


def _frames(videos: Pictures) -> list[tuple[View, ...]]:
    tile = tile_of(videos)
    found = square_frames(videos, -(-tile.side // 2), tile.side * tile.patch)
    return [(*own[:-1], replace(own[-1], newlines="last")) for own in found]


LLAVA_ONEVISION = Family(
    model_type="llava_onevision",
    views=_views,
    vision_used=deepest_selected,
    per_sample=("batch_num_images",),
    videos=_frames,
)
