"""From a patch of the pixels that a tower sees back to the original image."""

from typing import Any

import numpy as np
from jaxtyping import Float


def patch_boxes(
    processor: Any, original: tuple[int, int], pixels: tuple[int, int], grid: tuple[int, int]
) -> Float[np.ndarray, "patch 4"]:
    """Left, top, right, bottom of every patch in pixels of the original image, row by row.

    Undoes what the image processor did, step by step: pad to a square, resize, crop the centre.
    A patch of padding has an empty box.

    Args:
        processor: the image processor, whose settings are read.
        original: width and height of the original image.
        pixels: height and width of what the patches cover.
        grid: rows and columns of patches on it.
    """
    width, height = original
    pad_x = pad_y = 0.0
    # LLaVA's own processor pads to a square; elsewhere ``do_pad`` means something else.
    if getattr(processor, "do_pad", False) and type(processor).__name__.startswith("LlavaImage"):
        side = max(width, height)
        pad_x, pad_y = (side - width) // 2, (side - height) // 2
        width = height = side
    new_width, new_height = _resized(processor, width, height)
    left = top = 0
    if getattr(processor, "do_center_crop", False):
        crop = processor.crop_size
        left, top = (new_width - crop["width"]) // 2, (new_height - crop["height"]) // 2
    rows, columns = grid
    ys = np.linspace(0, pixels[0], rows + 1) + top
    xs = np.linspace(0, pixels[1], columns + 1) + left
    xs = np.clip(xs * width / new_width - pad_x, 0, original[0])
    ys = np.clip(ys * height / new_height - pad_y, 0, original[1])
    boxes = np.empty((rows, columns, 4))
    boxes[..., 0], boxes[..., 2] = xs[:-1], xs[1:]
    boxes[..., 1], boxes[..., 3] = ys[:-1, None], ys[1:, None]
    return boxes.reshape(-1, 4)


def _resized(processor: Any, width: int, height: int) -> tuple[int, int]:
    if not getattr(processor, "do_resize", False):
        return width, height
    size = processor.size
    if size.get("shortest_edge"):
        short = size["shortest_edge"]
        if width <= height:
            return short, int(short * height / width)
        return int(short * width / height), short
    return size["width"], size["height"]
