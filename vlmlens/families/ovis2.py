"""Ovis2: every patch is a mixture of words of a visual vocabulary; a small copy, then tiles."""

import numpy as np

from vlmlens.families.family import Family, Pictures, Tap
from vlmlens.families.geometry import tiles, whole
from vlmlens.layout import View


def _views(pictures: Pictures) -> list[tuple[View, ...]]:
    vision = pictures.config.vision_config
    side = -(-(vision.image_size // vision.patch_size) // vision.hidden_stride)
    if pictures.tensors["pixel_values"].shape[0] == len(pictures.sizes):
        return [(View(side, side, whole(size)),) for size in pictures.sizes]
    found: list[tuple[View, ...]] = []
    for size in pictures.originals():
        # The grids are not among the tensors; a blank image of that size is cut in the same way.
        blank = np.zeros((size[1], size[0], 3), dtype=np.uint8)
        rows, columns = pictures.processor(blank, return_tensors="np")["grids"][0].tolist()
        cut = [View(side, side, box) for box in tiles(whole(size), rows, columns)]
        small = View(side, side, whole(size), thumbnail=True)
        found.append((small, *cut) if len(cut) > 1 else (*cut,))
    return found


#: The table also looks up the tokens around an image; what is projected are mixtures.
TABLE = "model.visual_embeddings_table"

OVIS2 = Family(
    model_type="ovis2",
    views=_views,
    vision_layers="model.vision_tower.transformer.encoder.layers",
    projector=TABLE,
    points={
        "projector.hook_in": Tap(TABLE, "in", floats=True),
        "projector.hook_out": Tap(TABLE, "out", floats=True),
    },
)
