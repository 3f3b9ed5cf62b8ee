"""LLaVA-NeXT: a small copy of the image, then the image in tiles, with a newline after each row."""

import math

from vlmlens.families.family import Family, Pictures
from vlmlens.families.geometry import whole
from vlmlens.families.llava import deepest_selected
from vlmlens.layout import View


def best_canvas(size: tuple[int, int], canvases: list[list[int]]) -> tuple[int, int]:
    """The canvas (height, width) that keeps most of an image's pixels and wastes least."""

    def merit(canvas: list[int]) -> tuple[int, int]:
        scale = min(canvas[1] / size[0], canvas[0] / size[1])
        kept = min(int(size[0] * scale) * int(size[1] * scale), size[0] * size[1])
        return kept, kept - canvas[0] * canvas[1]

    height, width = max(canvases, key=merit)
    return height, width


def unpadded(size: tuple[int, int], canvas: tuple[int, int], patch: int) -> View:
    """The tokens of an image on a canvas, without those that hold nothing but padding.

    The image is fitted into the canvas and centred; rows (or columns) of patches are dropped on
    both sides, as many on each, by the image's exact shape.
    """
    width, height = size
    rows, columns = canvas[0] // patch, canvas[1] // patch
    scale = min(canvas[1] / width, canvas[0] / height)
    fitted_width = min(math.ceil(width * scale), canvas[1])
    fitted_height = min(math.ceil(height * scale), canvas[0])
    pad_x, pad_y = (canvas[1] - fitted_width) // 2, (canvas[0] - fitted_height) // 2
    drop_x = drop_y = 0
    if width / height > columns / rows:
        drop_y = (rows - int(round(height * columns / width, 7))) // 2
    else:
        drop_x = (columns - int(round(width * rows / height, 7))) // 2
    across, down = width / fitted_width, height / fitted_height
    box = (
        (drop_x * patch - pad_x) * across,
        (drop_y * patch - pad_y) * down,
        ((columns - drop_x) * patch - pad_x) * across,
        ((rows - drop_y) * patch - pad_y) * down,
    )
    return View(rows - 2 * drop_y, columns - 2 * drop_x, box, newlines="each")


def _views(pictures: Pictures) -> list[tuple[View, ...]]:
    config = pictures.config
    patch = config.vision_config.patch_size
    side = config.vision_config.image_size // patch
    found = []
    for height, width in pictures.tensors["image_sizes"].tolist():
        canvas = best_canvas((width, height), config.image_grid_pinpoints)
        small = View(side, side, whole((width, height)), thumbnail=True)
        found.append((small, unpadded((width, height), canvas, patch)))
    return found


LLAVA_NEXT = Family(model_type="llava_next", views=_views, vision_used=deepest_selected)
