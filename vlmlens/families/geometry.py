"""From the pixels that a tower sees back to the original image."""

from typing import Any

from PIL import Image

#: Left, top, right, bottom, in pixels of the original image.
Box = tuple[float, float, float, float]


def covered(
    processor: Any, original: tuple[int, int] | None, pixels: tuple[int, int]
) -> Box | None:
    """What the first ``pixels`` rows and columns of a processed image cover of the original.

    Undoes what the image processor did, step by step: pad to a square, resize, crop the centre.
    Padding lies outside the image: at negative numbers, or beyond its width and height.

    Args:
        processor: the image processor, whose settings are read.
        original: width and height of the original image; None if unknown.
        pixels: height and width of the processed part.
    """
    if original is None or processor is None:
        return None
    width, height = original
    pad_x = pad_y = 0
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
    across, down = width / new_width, height / new_height
    return (
        left * across - pad_x,
        top * down - pad_y,
        (left + pixels[1]) * across - pad_x,
        (top + pixels[0]) * down - pad_y,
    )


def whole(original: tuple[int, int] | None) -> Box | None:
    """The box of all of an image."""
    return None if original is None else (0.0, 0.0, float(original[0]), float(original[1]))


def blank(size: tuple[int, int]) -> Image.Image:
    """A black picture, for a processor to show how it cuts one of this size.

    A picture and no array: an array of three rows could be one of three channels.
    """
    return Image.new("RGB", size)


def first(box: Box | None, share: float, down: float | None = None) -> Box | None:
    """The first part of a box's width, and of its height: ``down``, or as much.

    A tower cuts its pixels into whole patches from the left and the top: the 27 patches of
    14 pixels that a picture of 384 pixels holds are the first 378 / 384 of it.
    """
    if box is None:
        return None
    left, top, right, bottom = box
    down = share if down is None else down
    return left, top, left + share * (right - left), top + down * (bottom - top)


def tiles(box: Box | None, rows: int, columns: int, share: float = 1.0) -> list[Box | None]:
    """A box cut into equal tiles, row by row; of each of them the first part.

    Args:
        box: of all tiles.
        rows: of tiles.
        columns: of tiles.
        share: how much of a tile's width and height is seen; see ``first``.
    """
    if box is None:
        return [None] * (rows * columns)
    left, top, right, bottom = box
    width, height = (right - left) / columns, (bottom - top) / rows
    return [
        first(
            (left + c * width, top + r * height, left + (c + 1) * width, top + (r + 1) * height),
            share,
        )
        for r in range(rows)
        for c in range(columns)
    ]


def in_square(size: tuple[int, int]) -> Box:
    """What a square shows of an image that is padded to it, in the middle."""
    side = max(size)
    x, y = ((side - n) // 2 for n in size)
    return float(-x), float(-y), float(side - x), float(side - y)


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
