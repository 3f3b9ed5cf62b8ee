"""The directions in which the stream is read out as tokens."""

from typing import TYPE_CHECKING

import torch
from accelerate.utils import align_module_device
from jaxtyping import Float, Int
from torch import Tensor

from vlmlens.errors import InputError, UnsupportedModelError

if TYPE_CHECKING:
    from vlmlens.model.hooked import HookedVLM

#: Token ids: one for all, one a sample, or one for every sample and position; or a token's text.
Tokens = str | int | Tensor


def directions(vlm: "HookedVLM", tokens: Tokens) -> Float[Tensor, "*lead d_model"]:
    """The rows of the unembedding that belong to tokens.

    Raises:
        UnsupportedModelError: the unembedding is quantised, or its weights are not at hand.
        InputError: a text that is not one token.
    """
    head = vlm.hf_model.get_submodule(vlm.family.lm_head)
    with align_module_device(head):
        if not head.weight.is_floating_point() or head.weight.is_meta:
            raise UnsupportedModelError(
                "the unembedding's weights are quantised or not at hand, so a token has no "
                "direction; open the model with the unembedding in floating point"
            )
        return head.weight.detach()[_ids(vlm, tokens).to(head.weight.device)]


def _ids(vlm: "HookedVLM", tokens: Tokens) -> Int[Tensor, "*lead"]:
    if isinstance(tokens, str):
        tokenizer = getattr(vlm.processor, "tokenizer", None)
        if tokenizer is None:
            raise InputError("this model was opened without a tokenizer: pass token ids")
        ids = tokenizer.encode(tokens, add_special_tokens=False)
        if len(ids) != 1:
            raise InputError(f"{tokens!r} is {len(ids)} tokens, not one")
        (tokens,) = ids
    return torch.as_tensor(tokens)
