"""Splicing: the language model is given a cone in place of what the outer model made."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vlmlens.model.decoding.prefix import prefix_cache
from vlmlens.model.reuse.entering import language_model
from vlmlens.model.reuse.prefill import Prefill
from vlmlens.model.wiring.wire import EMBEDS, take_off
from vlmlens.model.wiring.wired import Wired
from vlmlens.tensors import onto
from vlmlens.versions import cache_argument


def text_inputs(prefill: Prefill, position: int) -> dict[str, Int[Tensor, "..."]]:
    """Text of the cone's length, for the outer model, whose language model is given the cone."""
    tensors, roles = prefill.inputs.tensors, prefill.inputs.layouts[0].roles
    token = next(at for at, role in enumerate(roles) if role != "vision")
    ids = tensors["input_ids"][:, token : token + 1].expand(1, len(roles) - position)
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "position_ids": tensors["position_ids"][..., position:],
    }


@contextmanager
def spliced(vlm: Wired, prefill: Prefill, position: int) -> Iterator[None]:
    """Give the language model what it was given in the clean pass, from a position on."""
    size = prefill.stream[0].shape[1]
    cache = prefix_cache(prefill.keys, position)
    instead: dict[str, Any] = {}
    for name, value in prefill.given.items():
        if name == "attention_mask":
            instead[name] = rows_of(value, position, size, prefill.stream[0].device)
        elif name == "position_ids":
            instead[name] = value[..., position:]
        elif isinstance(value, Tensor) and value.ndim > 1 and value.shape[1] == size:
            instead[name] = value[:, position:]
        else:
            instead[name] = value
    instead |= dict.fromkeys({"deepstack_visual_embeds", "visual_pos_masks"} & set(instead))
    instead |= cache_argument(language_model(vlm), cache) | {"use_cache": cache is not None}
    instead[EMBEDS] = prefill.stream[0][:, position:]
    module = language_model(vlm)

    def hook(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        return ((), instead) if vlm.running else None

    # First, so that points at this module see what this makes of it.
    with vlm.noted(partial(take_off, module, hook)):
        module.register_forward_pre_hook(hook, with_kwargs=True, prepend=True)
        yield


def rows_of(mask: Any, position: int, size: int, device: torch.device) -> Any:
    """The rows of a mask from a position on; a mask of padding stays whole."""
    if isinstance(mask, Mapping):
        return {
            name: onto(causal(position, size), device)
            if each is None and 0 < position < size - 1
            else rows_of(each, position, size, device)
            for name, each in mask.items()
        }
    return mask[:, :, position:] if isinstance(mask, Tensor) and mask.ndim == 4 else mask


def causal(position: int, size: int) -> Bool[Tensor, "1 1 query key"]:
    """Who sees whom from a position on: of all rows, or of one, attention itself knows."""
    return torch.ones(size - position, size, dtype=torch.bool).tril(position)[None, None]


@contextmanager
def skipped(vlm: Wired, blocks: Sequence[nn.Module]) -> Iterator[None]:
    """Blocks that pass on what they are given, while this lasts."""
    own = [block.__dict__.get("forward") for block in blocks]

    def put_back() -> None:
        for block, forward in zip(blocks, own, strict=True):
            if forward is None:
                block.__dict__.pop("forward", None)
            else:
                block.__dict__["forward"] = forward

    with vlm.noted(put_back):
        for block in blocks:
            block.__dict__["forward"] = _passes_on(vlm, block.forward)
        yield


def _passes_on(vlm: Wired, forward: Any) -> Any:
    def pass_on(
        hidden_states: Float[Tensor, "batch pos d_model"], *args: Any, **kwargs: Any
    ) -> Any:
        if vlm.running:
            return hidden_states
        return forward(hidden_states, *args, **kwargs)

    return pass_on
