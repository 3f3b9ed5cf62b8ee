"""DeepSeek-VL and Janus: SigLIP on the whole image, fitted into a square and padded; Llama."""

from dataclasses import replace

from vlmlens.families.family import Family, Pictures
from vlmlens.families.geometry import Box, first
from vlmlens.view import View


def padded(size: tuple[int, int], side: int, least: int) -> Box:
    """What a square of ``side`` pixels shows of an image that is fitted into its middle.

    No side of the fitted image is shorter than ``least``.
    """
    scale = side / max(size)
    width, height = (max(round(n * scale), least) for n in size)
    before_x, before_y = (side - width) // 2, (side - height) // 2
    across, down = size[0] / width, size[1] / height
    return (
        -before_x * across,
        -before_y * down,
        (side - before_x) * across,
        (side - before_y) * down,
    )


def _views(pictures: Pictures) -> list[tuple[View, ...]]:
    pixels = pictures.tensors["pixel_values"].shape[-1]
    finest = pictures.tensors.get("high_res_pixel_values", pictures.tensors["pixel_values"])
    patch = pictures.config.vision_config.patch_size
    side, share = pixels // patch, pixels // patch * patch / pixels
    least = getattr(pictures.processor, "min_size", 1)
    boxes = [
        None if size is None else padded(size, finest.shape[-1], least) for size in pictures.sizes
    ]
    return [(View(side, side, first(box, share)),) for box in boxes]


DEEPSEEK_VL = Family(
    model_type="deepseek_vl",
    views=_views,
    vision_layers="model.vision_model.encoder.layers",
    projector="model.aligner",
)
#: Its image tokens for drawing, and their tower, are not watched.
JANUS = replace(DEEPSEEK_VL, model_type="janus")
#: A second tower, SAM's, sees the same square with more pixels; it is not watched, and what it
#: makes enters the projector beside what ``projector.hook_in`` shows.
DEEPSEEK_VL_HYBRID = replace(DEEPSEEK_VL, model_type="deepseek_vl_hybrid")
