"""Idefics3 and SmolVLM: the image in tiles, then a small copy of it; pixels shuffled into depth.

SmolVLM is shown a video's frames as so many whole images, with their times written before them.
"""

from dataclasses import replace

from vlmlens.families.family import Family, Pictures
from vlmlens.families.frames import frames
from vlmlens.families.geometry import blank, first, tiles, whole
from vlmlens.view import View


def _square(pictures: Pictures) -> tuple[int, float]:
    """Tokens along a tile's side, and how much of it they cover."""
    pixels = pictures.tensors["pixel_values"].shape[-1]
    unit = pictures.config.vision_config.patch_size * pictures.config.scale_factor
    side = pixels // unit
    return side, side * unit / pixels


def _whole_frames(videos: Pictures) -> list[tuple[View, ...]]:
    side, share = _square(videos)
    grids = [View(side, side, first(whole(size), share)) for size in videos.sizes]
    return frames(videos, grids, [videos.tensors["pixel_values"].shape[1]] * len(grids))


def _views(pictures: Pictures) -> list[tuple[View, ...]]:
    side, share = _square(pictures)
    if pictures.tensors["pixel_values"].shape[:2].numel() == len(pictures.sizes):  # none is cut
        return [(View(side, side, first(whole(size), share)),) for size in pictures.sizes]
    found: list[tuple[View, ...]] = []
    for size in pictures.originals():
        # How many tiles is not among the tensors; a blank image is cut in the same way.
        made = pictures.processor(
            blank(size), return_row_col_info=True, do_rescale=False, do_normalize=False, resample=0
        )
        rows, columns = made["rows"][0][0], made["cols"][0][0]
        cut = tiles(whole(size), rows, columns, share) if rows else []
        small = View(side, side, first(whole(size), share), thumbnail=bool(cut))
        found.append((*(View(side, side, box) for box in cut), small))
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
SMOLVLM = replace(
    IDEFICS3,
    model_type="smolvlm",
    videos=_whole_frames,
    unmixed="transformers' processor for it makes pixel_values of either, and drops the pictures'",
)
