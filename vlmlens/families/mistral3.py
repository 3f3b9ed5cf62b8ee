"""Pixtral's tower, which packs images of any size into one row; 2 x 2 patches are merged.

Mistral Small 3.1 has it, and LightOnOCR.
"""

from dataclasses import replace

from vlmlens.families.family import Family, Pictures, Tap
from vlmlens.families.geometry import first, whole
from vlmlens.view import View


def _views(pictures: Pictures) -> list[tuple[View, ...]]:
    config = pictures.config
    unit = config.vision_config.patch_size * config.spatial_merge_size
    sizes = pictures.tensors["image_sizes"].tolist()  # of the resized images: height, width
    found: list[tuple[View, ...]] = []
    for (height, width), size in zip(sizes, pictures.sizes, strict=True):
        rows, columns = height // unit, width // unit  # an odd patch is not merged, and dropped
        seen = first(whole(size), columns * unit / width, rows * unit / height)
        found.append((View(rows, columns, seen),))
    return found


def _points(tower: str, projector: str) -> dict[str, Tap | str]:
    """Points that exist once, where the tower packs all images into one row of patches."""
    first = f"{tower}.transformer.layers.0"
    return {
        "vision.hook_embed": Tap(first, "in", "1 patch d_model", "patch d_model"),
        "projector.hook_in": Tap(projector, "in", axes="patch d_model"),
        "projector.hook_out": Tap(projector, "out", axes="patch d_model"),
    }


MISTRAL3 = Family(
    model_type="mistral3",
    views=_views,
    vision_layers="model.vision_tower.transformer.layers",
    vision_rotary="model.vision_tower.patch_positional_embedding",
    points=_points("model.vision_tower", "model.multi_modal_projector"),
)
LIGHTON_OCR = replace(
    MISTRAL3,
    model_type="lighton_ocr",
    vision_layers="model.vision_encoder.transformer.layers",
    projector="model.vision_projection",
    vision_rotary="model.vision_encoder.patch_positional_embedding",
    points=_points("model.vision_encoder", "model.vision_projection"),
)
