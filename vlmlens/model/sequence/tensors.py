"""Raw tensors that a model can be given: token ids, a mask, and what it takes of images."""

from collections.abc import Mapping
from inspect import signature
from math import prod
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from vlmlens.checks import refuse_unknown, shown
from vlmlens.errors import InputError
from vlmlens.families import Family
from vlmlens.tensors import dense

#: What forward takes beside images, and what to do instead.
NOT_OF_IMAGES = {
    "position_ids": "they follow the model's own rule, and MovePositions moves them",
    "inputs_embeds": "give input_ids; an Edit at hook_embed writes others",
    "labels": "no loss is computed; generate(..., answered=...) says how likely answers are",
    "logits_to_keep": "run(inputs, logits=...) says which are wanted",
    "past_key_values": "prefill and resume start from keys and values",
    "cache": "prefill and resume start from keys and values",
    **dict.fromkeys(
        (
            *("mm_encoder_outputs", "per_layer_inputs", "input_features", "input_features_mask"),
            *("vision_feature_layer", "vision_feature_select_strategy", "use_cache", "return_dict"),
            *("output_attentions", "output_hidden_states", "output_router_logits", "kwargs"),
        ),
        "",
    ),
}


def vision_ids(config: Any, family: Family) -> tuple[int, ...]:
    """The tokens that pictures take, and videos where the family shows some by another one."""
    video = getattr(config, family.video_token, None)
    if family.videos is None or video is None or video == config.image_token_id:
        return (config.image_token_id,)
    return config.image_token_id, video


def token_ids(given: Any, model: Any, family: Family) -> Int[Tensor, "batch pos"]:
    """Token ids that there are, as a table."""
    if not isinstance(given, Tensor):
        raise InputError(f"input_ids={shown(given)}: a torch tensor (batch, pos) is wanted")
    dense(given, "input_ids")
    if given.ndim != 2 or 0 in given.shape:
        raise InputError(f"input_ids must be (batch, pos), not {tuple(given.shape)}")
    if given.is_floating_point() or given.is_complex() or given.dtype == torch.bool:
        raise InputError(f"input_ids are whole numbers, and not {given.dtype}")
    config, known = model.config, vision_ids(model.config, family)
    size = max(model.get_input_embeddings().num_embeddings, max(known) + 1)
    least, most = int(given.min()), int(given.max())
    if least < 0 or most >= size:
        wrong = least if least < 0 else most
        raise InputError(f"there is no token {wrong}: ids go from 0 to {size - 1}")
    video = getattr(config, "video_token_id", config.image_token_id)
    if video is not None and video not in known and bool((given == video).any()):
        raise InputError(
            f"input_ids hold the video token {video}: videos are not laid out for "
            f"{family.model_type}; pass their frames as images"
        )
    return given.long()


def seen_mask(given: Any, ids: Int[Tensor, "batch pos"]) -> Int[Tensor, "batch pos"]:
    """1 where a position is seen, 0 where it is padding."""
    if given is None:
        return torch.ones_like(ids)
    if not isinstance(given, Tensor) or given.shape != ids.shape:
        raise InputError(
            f"attention_mask is {shown(given)}, but input_ids are of shape {tuple(ids.shape)}"
        )
    mask = dense(given, "attention_mask").to(ids)
    if bool((mask != given.to(ids.device)).any()) or bool((mask & ~1).any()):
        raise InputError("attention_mask is 1 where a position is seen, and 0 where it is padding")
    if bool((mask.sum(1) == 0).any()):
        raise InputError("attention_mask hides a whole sample: leave that sample out")
    return mask


def refuse_others(images: Mapping[str, Any], model: Any, family: Family) -> None:
    """Refuse what the model does not take, what is no tensor, and videos where none are shown."""
    videos = [name for name in images if "video" in name]
    if videos and len(vision_ids(model.config, family)) == 1:
        raise InputError(
            f"{', '.join(videos)}: videos are not laid out for tensors of {family.model_type}; "
            "pass their frames as images"
        )
    known = [name for name in signature(model.forward).parameters if name not in NOT_OF_IMAGES]
    refuse_unknown(images, known, "inputs_from(...)", NOT_OF_IMAGES)
    for name, tensor in images.items():
        dense(tensor, name)
    if "pixel_values" in images:
        _refuse_pixels(images["pixel_values"], model)


def _refuse_pixels(given: Any, model: Any) -> None:
    """Refuse pixels that the tower's first layer cannot read: of other channels or patches."""
    parts = (nn.Conv2d, nn.Conv3d, nn.Linear)
    first: Any = next(
        (m for n, m in model.named_modules() if "patch" in n and isinstance(m, parts)), None
    )
    if first is None or given.ndim < 2:
        return
    if given.ndim > 3:  # pictures; flat patches otherwise
        seen = getattr(model.config, "vision_config", None)  # of patches that are unfolded
        axis, wanted = -3, getattr(first, "in_channels", getattr(seen, "num_channels", None))
    else:
        axis, wanted = -1, prod(first.weight.shape[1:])
    if wanted is not None and given.shape[axis] != wanted:
        kind = "channels" if axis == -3 else "numbers a patch"
        raise InputError(
            f"pixel_values={shown(given)} hold {given.shape[axis]} {kind}, and the model reads "
            f"{wanted}"
        )
