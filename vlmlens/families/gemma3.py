"""Gemma 3: SigLIP, pooled to a fixed grid; an image's tokens see each other in both directions."""

import math

from vlmlens.errors import InputError
from vlmlens.families.family import Family, Pictures
from vlmlens.families.geometry import first, whole
from vlmlens.view import View


def _views(pictures: Pictures) -> list[tuple[View, ...]]:
    made = pictures.tensors["pixel_values"].shape[0]
    if made != len(pictures.sizes):
        raise InputError(
            f"{len(pictures.sizes)} images became {made}: pan and scan is on, whose crops are not "
            "laid out; set processor.image_processor.do_pan_and_scan = False"
        )
    side, vision = math.isqrt(pictures.config.mm_tokens_per_image), pictures.config.vision_config
    pooled = vision.image_size // vision.patch_size // side  # patches along a token's side
    share = side * pooled * vision.patch_size / vision.image_size
    return [(View(side, side, first(whole(size), share)),) for size in pictures.sizes]


GEMMA3 = Family(model_type="gemma3", views=_views, per_token={"token_type_ids": (1, 0)})
