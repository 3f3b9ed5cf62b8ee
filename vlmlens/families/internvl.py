"""InternVL: the image in tiles, then a small copy of it; pixels shuffled into depth.

A video's frames are so many whole images, each with its number before it.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from vlmlens.families.family import Family, Pictures
from vlmlens.families.frames import frames
from vlmlens.families.geometry import first, tiles, whole
from vlmlens.view import View


def canvas(processor: Any, size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the tiles whose shape together is nearest to the image's.

    Among equally near ones, more tiles as long as the image fills half of them.
    """
    width, height = size
    most, least = processor.max_patches, processor.min_patches
    grids = sorted(
        ((c, r) for c in range(1, most + 1) for r in range(1, most + 1) if least <= c * r <= most),
        key=lambda grid: grid[0] * grid[1],
    )
    best, nearest = (1, 1), math.inf
    area = processor.size["height"] * processor.size["width"]
    for columns, rows in grids:
        off = abs(width / height - columns / rows)
        filled = width * height > 0.5 * area * columns * rows
        if off < nearest or (off == nearest and filled):
            best, nearest = (columns, rows), off
    return best[1], best[0]


def tiled(
    pictures: Pictures,
    side: int,
    unit: int,
    arranged: Callable[[Any, tuple[int, int]], tuple[int, int]] = canvas,
) -> list[tuple[View, ...]]:
    """Tiles of ``side`` by ``side`` tokens, row by row, and a small copy if there are several.

    Args:
        pictures: the images.
        side: tokens along a tile's side.
        unit: pixels along a token's side.
        arranged: the processor and an image's size -> rows and columns of tiles.
    """
    made, pixels = (pictures.tensors["pixel_values"].shape[at] for at in (0, -1))
    share = side * unit / pixels
    if made == len(pictures.sizes):
        return [(View(side, side, first(whole(size), share)),) for size in pictures.sizes]
    found: list[tuple[View, ...]] = []
    for size in pictures.originals():
        rows, columns = arranged(pictures.processor, size)
        cut = [View(side, side, box) for box in tiles(whole(size), rows, columns, share)]
        small = View(side, side, first(whole(size), share), thumbnail=True)
        found.append((*cut, small) if len(cut) > 1 else (*cut,))
    return found


def _square(config: Any) -> tuple[int, int]:
    """Tokens along a tile's side, and pixels along a token's."""
    patch, ratio = config.vision_config.patch_size[0], config.downsample_ratio
    return int(config.vision_config.image_size[0] // patch * ratio), round(patch / ratio)


def _views(pictures: Pictures) -> list[tuple[View, ...]]:
    return tiled(pictures, *_square(pictures.config))


def _numbered_frames(videos: Pictures) -> list[tuple[View, ...]]:
    side, unit = _square(videos.config)
    share = side * unit / videos.tensors["pixel_values"].shape[-1]
    grids = [View(side, side, first(whole(size), share)) for size in videos.sizes]
    return frames(videos, grids, [len(own) for own in videos.seconds])


INTERNVL = Family(
    model_type="internvl",
    views=_views,
    vision_layers="model.vision_tower.encoder.layer",
    videos=_numbered_frames,
)
QIANFAN_OCR = replace(
    INTERNVL,
    model_type="qianfan_ocr",
    vision_layers="model.vision_tower.layers",
    videos=None,
)
