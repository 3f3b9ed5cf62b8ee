"""Ovis2: every patch is a mixture of words of a visual vocabulary; a small copy, then tiles."""

from vlmlens.families.family import Family, Pictures, Tap
from vlmlens.families.geometry import blank, first, tiles, whole
from vlmlens.view import View


def _views(pictures: Pictures) -> list[tuple[View, ...]]:
    vision = pictures.config.vision_config
    side = -(-(vision.image_size // vision.patch_size) // vision.hidden_stride)
    share = side * vision.hidden_stride * vision.patch_size / vision.image_size
    if pictures.tensors["pixel_values"].shape[0] == len(pictures.sizes):
        return [(View(side, side, first(whole(size), share)),) for size in pictures.sizes]
    found: list[tuple[View, ...]] = []
    for size in pictures.originals():
        # The grids are not among the tensors; a blank image of that size is cut in the same way.
        rows, columns = pictures.processor(blank(size), return_tensors="np")["grids"][0].tolist()
        cut = [View(side, side, box) for box in tiles(whole(size), rows, columns, share)]
        small = View(side, side, first(whole(size), share), thumbnail=True)
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
