"""Idefics3 and SmolVLM: the image in tiles, then a small copy of it; pixels shuffled into depth."""

from dataclasses import replace

from vlmlens.families.family import Family, Pictures
from vlmlens.families.geometry import tiles, whole
from vlmlens.layout import View


def _views(pictures: Pictures) -> list[tuple[View, ...]]:
    config = pictures.config
    vision = config.vision_config
    side = vision.image_size // vision.patch_size // config.scale_factor
    found: list[tuple[View, ...]] = []
    for size in pictures.originals():
        _, rows, columns = pictures.processor.get_number_of_image_patches(size[1], size[0])
        cut = [View(side, side, box) for box in tiles(whole(size), rows, columns)]
        found.append((*cut, View(side, side, whole(size), thumbnail=bool(cut))))
    return found


IDEFICS3 = Family(
    model_type="idefics3",
    views=_views,
    vision_layers="model.vision_model.encoder.layers",
    projector="model.connector",
    lm_layers="model.text_model.layers",
    final_norm="model.text_model.norm",
    rotary="model.text_model.rotary_emb",
    per_sample=("pixel_values", "pixel_attention_mask"),
)
SMOLVLM = replace(IDEFICS3, model_type="smolvlm")
