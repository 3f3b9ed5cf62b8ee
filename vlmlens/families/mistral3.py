"""Mistral Small 3.1: Pixtral's tower, which packs images of any size into one row; 2 x 2 merged."""

from vlmlens.families.family import Family, Pictures, Tap
from vlmlens.families.geometry import whole
from vlmlens.view import View


def _views(pictures: Pictures) -> list[tuple[View, ...]]:
    config = pictures.config
    unit = config.vision_config.patch_size * config.spatial_merge_size
    sizes = pictures.tensors["image_sizes"].tolist()  # of the resized images: height, width
    return [
        (View(height // unit, width // unit, whole(size)),)
        for (height, width), size in zip(sizes, pictures.sizes, strict=True)
    ]


LAYERS = "model.vision_tower.transformer.layers"

MISTRAL3 = Family(
    model_type="mistral3",
    views=_views,
    vision_layers=LAYERS,
    vision_rotary="model.vision_tower.patch_positional_embedding",
    points={
        "vision.hook_embed": Tap(f"{LAYERS}.0", "in", "1 patch d_model", "patch d_model"),
        "projector.hook_in": Tap("model.multi_modal_projector", "in", axes="patch d_model"),
        "projector.hook_out": Tap("model.multi_modal_projector", "out", axes="patch d_model"),
    },
)
