"""Raw tensors in; the same, and what every position is, out."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from vlmlens.errors import InputError
from vlmlens.families import Family, Pictures
from vlmlens.layout import View
from vlmlens.model.inputs import Inputs, generated_numbers, layout_of, to_device

#: Role of every position, or ranges (half open) of positions by role.
Roles = Sequence[str] | Mapping[str, Any]


def from_tensors(
    input_ids: Int[Tensor, "batch pos"],
    family: Family,
    model: Any,
    *,
    attention_mask: Tensor | None,
    roles: Roles | Sequence[Roles] | None,
    sizes: Sequence[tuple[int, int]] | None,
    images: Mapping[str, Tensor],
    processor: Any = None,
) -> Inputs:
    """Raw tensors and the role of every position; see ``HookedVLM.inputs_from``."""
    config = model.config
    if input_ids.ndim != 2:
        raise InputError(f"input_ids must be (batch, pos), not {tuple(input_ids.shape)}")
    batch, length = input_ids.shape
    mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    if mask.shape != input_ids.shape:
        raise InputError(
            f"attention_mask is {tuple(mask.shape)}, but input_ids are {(batch, length)}"
        )
    per_sample: list[Any] = [roles] * batch
    if isinstance(roles, Sequence) and roles and not isinstance(roles[0], str):
        per_sample = list(roles)
        if len(per_sample) != batch:
            raise InputError(f"roles for {len(per_sample)} samples, but {batch} samples")
    known: list[Any] = [None] * _images(images) if sizes is None else list(sizes)
    views: list[tuple[View, ...]] = []
    if images:
        at_hand = getattr(processor, "image_processor", None)
        views = family.views(Pictures(config, images, at_hand, known))
    is_image = input_ids == config.image_token_id
    tokens, expected = int(is_image.sum()), sum(view.size for v in views for view in v)
    if tokens != expected:
        raise InputError(
            f"input_ids hold {tokens} image tokens (id {config.image_token_id}), but the "
            f"{len(views)} image(s) given make {expected}"
        )
    decode = processor.tokenizer.decode if processor is not None else None
    layouts, dealt = [], 0
    for ids, seen, own in zip(input_ids.tolist(), mask.tolist(), per_sample, strict=True):
        named = _roles(own, ids, config)
        named = [
            "pad" if not s else "vision" if i == config.image_token_id else r
            for i, s, r in zip(ids, seen, named, strict=True)
        ]
        mine, room = [], named.count("vision")
        while room > 0 and dealt < len(views):
            mine.append(dealt)
            room -= sum(view.size for view in views[dealt])
            dealt += 1
        texts = [decode([i]) for i in ids] if decode else [""] * length
        layouts.append(layout_of(named, texts, [views[i] for i in mine], [known[i] for i in mine]))
    tensors = {"input_ids": input_ids, "attention_mask": mask} | dict(images)
    for name in family.per_token:
        tensors[name] = is_image.to(input_ids.dtype) * family.per_token[name][0]
    tensors = to_device(tensors, model)
    tensors["position_ids"] = family.positions(model, tensors)
    return Inputs(tensors, tuple(layouts), (), generated_numbers(family))


def _images(tensors: Mapping[str, Tensor]) -> int:
    """How many images raw tensors hold."""
    for name in ("image_grid_thw", "image_sizes", "pixel_values"):
        if name in tensors:
            return tensors[name].shape[0]
    return 0


def _roles(roles: Roles | None, ids: list[int], config: Any) -> list[str]:
    bos = getattr(config.get_text_config(), "bos_token_id", None)
    if roles is None:
        return ["bos" if i == bos and at == 0 else "user" for at, i in enumerate(ids)]
    if not isinstance(roles, Mapping):
        if len(roles) != len(ids):
            raise InputError(f"{len(roles)} roles for {len(ids)} positions")
        return list(roles)
    named = ["template"] * len(ids)
    for role, spans in roles.items():
        if isinstance(spans, int):
            spans = [(spans, spans + 1)]
        elif spans and isinstance(spans[0], int):
            spans = [spans]
        for start, end in spans:
            if not 0 <= start < end <= len(ids):
                raise InputError(f"{role} spans {start}:{end}, but there are {len(ids)} positions")
            named[start:end] = [role] * (end - start)
    return named
