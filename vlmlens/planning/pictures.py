"""A picture and a prompt as tensors, of the size that a model takes, without any processor."""

from inspect import signature
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from vlmlens.annotations import checked
from vlmlens.families import Pictures
from vlmlens.inputs import Inputs
from vlmlens.model import HookedVLM
from vlmlens.model.sequence.samples import going_on

#: Patches along each edge of a picture, for towers that take any size; pixels, where nothing says.
SIDE, PIXELS = 32, 448
#: Patches along each edge that are merged, where it is said picture by picture.
MERGED = 2
#: A token that stands for any word, and which share of them, a system prompt, precedes the image.
WORD, BEFORE = 5, 5 / 8

Images = dict[str, Shaped[Tensor, "..."]]


@checked
def drawn(vlm: HookedVLM, text: int, batch: int = 1) -> Inputs:
    """Prompts of one picture and so many tokens of text each.

    A picture is as large as the tower is made for: one tile, or two by two and a small copy for
    families that always cut; ``SIDE`` by ``SIDE`` patches for towers that take any size.

    Args:
        vlm: a model, with weights or without.
        text: tokens of text.
        batch: prompts.

    Examples:
        >>> from vlmlens.planning import drawn
        >>> drawn(model, text=16).layouts[0]
        TokenLayout(80 positions: 16 user, 64 vision)
    """
    one = one_picture(vlm)
    images: Any = {}
    for name, x in one.items():
        own = x.to(vlm.hf_model.dtype) if x.is_floating_point() else x
        counted = vlm.family.counting.get(name)
        each = going_on([own] * batch, [one[counted]] * batch) if counted else [own] * batch
        images[name] = torch.cat(each)
    (views,) = vlm.family.views(Pictures(vlm.config, one, None, [(PIXELS, PIXELS)]))
    seen = sum(view.size for view in views)
    ids = torch.full((batch, text + seen), WORD)
    start = round(BEFORE * text)
    ids[:, start : start + seen] = vlm.config.image_token_id
    return vlm.inputs_from(ids, sizes=[(PIXELS, PIXELS)] * batch, **images)


def one_picture(vlm: HookedVLM) -> Images:
    """The tensors of one picture, by what the model's forward takes."""
    takes, config = signature(vlm.hf_model.forward).parameters, vlm.config
    tower = config.vision_config
    if "image_grid_thw" in takes:
        return _grid(config, "image_merge_sizes" in takes)
    if "spatial_shapes" in takes:
        return {
            "pixel_values": torch.ones(1, SIDE**2, 3 * tower.patch_size**2),
            "pixel_attention_mask": torch.ones(1, SIDE**2, dtype=torch.long),
            "spatial_shapes": torch.tensor([[SIDE, SIDE]]),
        }
    if "image_position_ids" in takes:
        edge = torch.arange(SIDE // 2 * tower.pooling_kernel_size)
        return {
            "pixel_values": torch.ones(1, len(edge) ** 2, 3 * tower.patch_size**2),
            "image_position_ids": torch.cartesian_prod(edge, edge).flip(-1)[None],
        }
    if "image_token_pooling" in takes:
        return _pools(tower)
    side = _pixels(tower)
    square = torch.ones(1, 3, side, side)
    if hasattr(config, "image_grid_pinpoints"):
        tiles = square[None].expand(1, 5, 3, side, side)
        return {"pixel_values": tiles, "image_sizes": torch.tensor([[2 * side, 2 * side]])}
    if "high_res_pixel_values" in takes:
        fine = _pixels(config.high_res_vision_config)
        return {"pixel_values": square, "high_res_pixel_values": torch.ones(1, 3, fine, fine)}
    if "pixel_attention_mask" in takes:
        return {
            "pixel_values": square[None],
            "pixel_attention_mask": torch.ones(1, 1, side, side, dtype=torch.long),
        }
    if "image_sizes" in takes and hasattr(config, "spatial_merge_size"):
        return {"pixel_values": square, "image_sizes": torch.tensor([[side, side]])}
    return {"pixel_values": square}


def _pixels(tower: Any) -> int:
    """Pixels along the edge of what a tower is made for."""
    side = getattr(tower, "image_size", None) or PIXELS
    return side if isinstance(side, int) else side[0]


def _pools(tower: Any) -> Images:
    """A picture as a small copy and one tile, and which patches of each are read together."""
    along = _pixels(tower) // tower.patch_size
    rows = -(-along // MERGED)  # of an odd row the last pool lacks patches
    numbered = torch.full((2, rows * MERGED, rows * MERGED), -1)
    numbered[:, :along, :along] = torch.arange(2 * along**2).reshape(2, along, along)
    pools = numbered.unfold(1, MERGED, MERGED).unfold(2, MERGED, MERGED)
    return {
        "pixel_values": torch.ones(2, along**2, 3 * tower.patch_size**2),
        "image_token_pooling": pools.reshape(-1, MERGED**2),
        "image_grids": torch.tensor([[rows] * 4]),
        "image_num_crops": torch.tensor([2]),
    }


def _grid(config: Any, merges: bool) -> Images:
    """A picture as a row of patches, and its grid."""
    tower = config.vision_config
    names = ("in_channels", "in_chans", "num_channels")
    channels = next(getattr(tower, name) for name in names if getattr(tower, name, None))
    patch, frames = tower.patch_size, getattr(tower, "temporal_patch_size", 1)
    flat = config.model_type != "paddleocr_vl"
    one = (channels * frames * patch**2,) if flat else (channels, patch, patch)
    images: Any = {
        "pixel_values": torch.ones(SIDE**2, *one),
        "image_grid_thw": torch.tensor([[1, SIDE, SIDE]]),
    }
    return images | ({"image_merge_sizes": torch.tensor([MERGED])} if merges else {})
