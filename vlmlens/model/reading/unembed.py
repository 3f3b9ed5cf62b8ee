"""The directions in which the stream is read out as tokens."""

from collections.abc import Sequence

import numpy as np
import torch
from accelerate.utils import align_module_device
from jaxtyping import Float, Int
from torch import Tensor

from vlmlens.checks import shown, whole, word
from vlmlens.errors import InputError, UnsupportedModelError
from vlmlens.model.reading.weights import unembedding
from vlmlens.model.wiring.wired import Wired
from vlmlens.tensors import dense

#: Token ids: one for all, one a sample, or one for every sample and position; or tokens' texts.
Tokens = str | int | Int[Tensor, "..."] | Sequence[str | int]


def directions(vlm: Wired, tokens: Tokens) -> Float[Tensor, "*lead d_model"]:
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
        rows = unembedding(vlm)[0].T  # with adapters, and scaled as the model does
        return rows[_ids(vlm, tokens).to(rows.device)]


def _ids(vlm: Wired, tokens: Tokens) -> Int[Tensor, "*lead"]:
    if isinstance(tokens, np.ndarray):
        tokens = tokens.tolist()
    if isinstance(tokens, list | tuple) and tokens:
        rows = [_ids(vlm, token) for token in tokens]
        if len({row.shape for row in rows}) > 1:
            raise InputError(f"tokens={shown(tokens)}: the lists in it are of several lengths")
        return torch.stack(rows)
    if isinstance(tokens, str):
        tokenizer = getattr(vlm.processor, "tokenizer", None)
        if tokenizer is None:
            raise InputError("this model was opened without a tokenizer: pass token ids")
        ids = tokenizer.encode(word(tokens, "tokens"), add_special_tokens=False)
        if len(ids) != 1:
            raise InputError(f"{tokens!r} is {len(ids)} tokens, not one")
        (tokens,) = ids
    size = vlm.hf_model.get_submodule(vlm.family.lm_head).weight.shape[0]
    one = not isinstance(tokens, Tensor)
    ids = torch.tensor(whole(tokens, "tokens", 0, size - 1)) if one else tokens
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise InputError(f"tokens={shown(tokens)}: ids are whole numbers")
    if bool(((dense(ids, "tokens") < 0) | (ids >= size)).any()):
        raise InputError(f"tokens={shown(tokens)}: ids lie from 0 to {size - 1}")
    return ids
