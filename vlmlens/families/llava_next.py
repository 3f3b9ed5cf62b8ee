"""LLaVA-NeXT: a small copy of the image, then the image in tiles, with a newline after each row.

A video's frames are not tiled; every few rows and columns of theirs are pooled into one.
"""

import math
from dataclasses import dataclass, replace
from itertools import pairwise

from vlmlens.families.family import Family, Pictures
from vlmlens.families.frames import square_frames
from vlmlens.families.geometry import first, whole
from vlmlens.families.llava import deepest_selected
from vlmlens.view import View

#: Start and end of every column, or row.
Edges = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Tile:
    """One tile, as the tower cuts it into whole patches from its left and top.

    Attributes:
        pixels: along its side.
        patch: pixels along a patch's side.
    """

    pixels: int
    patch: int

    @property
    def side(self) -> int:
        """Patches along its side."""
        return self.pixels // self.patch

    @property
    def share(self) -> float:
        """How much of its width and height its patches cover."""
        return self.side * self.patch / self.pixels

    def start(self, at: float) -> float:
        """Where the patch ``at`` of a row of tiles begins, in pixels."""
        tile, patch = divmod(at, self.side)
        return tile * self.pixels + patch * self.patch

    def end(self, at: float) -> float:
        """Where what ends just before the patch ``at`` ends: in the tile where it began."""
        last = math.ceil(at) - 1.0
        return self.start(last) + (at - last) * self.patch


def tile_of(pictures: Pictures) -> Tile:
    """The tiles of a tower that takes squares of one size."""
    vision = pictures.config.vision_config
    return Tile(vision.image_size, vision.patch_size)


def best_canvas(size: tuple[int, int], canvases: list[list[int]]) -> tuple[int, int]:
    """The canvas (height, width) that keeps most of an image's pixels and wastes least."""

    def merit(canvas: list[int]) -> tuple[int, int]:
        scale = min(canvas[1] / size[0], canvas[0] / size[1])
        kept = min(int(size[0] * scale) * int(size[1] * scale), size[0] * size[1])
        return kept, kept - canvas[0] * canvas[1]

    height, width = max(canvases, key=merit)
    return height, width


def unpadded(
    size: tuple[int, int], canvas: tuple[int, int], tile: Tile, most: int | float = math.inf
) -> View:
    """The tokens of an image on a canvas, without those that hold nothing but padding.

    The image is fitted into the canvas and centred; rows (or columns) of patches are dropped on
    both sides, as many on each, by the image's exact shape. What is left is interpolated to
    fewer rows and columns where it is more than 1.1**2 times ``most`` patches.

    Args:
        size: width and height of the image.
        canvas: height and width of all tiles.
        tile: one of them.
        most: patches that are not yet too many.
    """
    width, height = size
    rows, columns = (n // tile.pixels * tile.side for n in canvas)
    scale = min(canvas[1] / width, canvas[0] / height)
    fitted_width = min(math.ceil(width * scale), canvas[1])
    fitted_height = min(math.ceil(height * scale), canvas[0])
    drop_x = drop_y = 0
    if width / height > columns / rows:
        drop_y = (rows - int(round(height * (columns / width), 7))) // 2
    else:
        drop_x = (columns - int(round(width * (rows / height), 7))) // 2
    kept = rows - 2 * drop_y, columns - 2 * drop_x
    ratio = math.sqrt(kept[0] * kept[1] / most)
    final = (int(kept[0] // ratio), int(kept[1] // ratio)) if ratio > 1.1 else kept

    def edges(drop: int, kept: int, cells: int, pad: int, across: float) -> Edges:
        places = [round(drop + kept * n / cells, 9) for n in range(cells + 1)] if cells else []
        return tuple(
            ((tile.start(a) - pad) * across, (tile.end(b) - pad) * across)
            for a, b in pairwise(places)
        )

    pad_x, pad_y = (canvas[1] - fitted_width) // 2, (canvas[0] - fitted_height) // 2
    xs = edges(drop_x, kept[1], final[1], pad_x, width / fitted_width)
    ys = edges(drop_y, kept[0], final[0], pad_y, height / fitted_height)
    box = (xs[0][0], ys[0][0], xs[-1][1], ys[-1][1]) if xs and ys else whole(size)
    return View(*final, box, newlines="each", across=xs, down=ys)


def _views(pictures: Pictures) -> list[tuple[View, ...]]:
    tile, canvases = tile_of(pictures), pictures.config.image_grid_pinpoints
    found = []
    for height, width in pictures.tensors["image_sizes"].tolist():
        size = width, height
        small = View(tile.side, tile.side, first(whole(size), tile.share), thumbnail=True)
        found.append((small, unpadded(size, best_canvas(size, canvases), tile)))
    return found


def _pooled_frames(videos: Pictures) -> list[tuple[View, ...]]:
    tile, stride = tile_of(videos), videos.config.spatial_pool_stride
    side = tile.side // stride
    return square_frames(videos, side, side * stride * tile.patch)


LLAVA_NEXT = Family(model_type="llava_next", views=_views, vision_used=deepest_selected)
LLAVA_NEXT_VIDEO = replace(LLAVA_NEXT, model_type="llava_next_video", videos=_pooled_frames)
