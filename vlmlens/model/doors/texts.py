"""Texts and tokens, as TransformerLens's models turn one into the other."""

from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from vlmlens.checks import flag, one_of, plain, shown, whole, word
from vlmlens.errors import InputError

#: No vocabulary is larger.
LARGEST = 2**31 - 1
Ids = Int[Tensor, "..."] | Int[np.ndarray, "..."] | list[int] | list[list[int]] | int


def to_tokens(
    tokenizer: Any,
    texts: list[str],
    bos: bool,
    side: Literal["left", "right"],
    most: int | None,
) -> Int[Tensor, "batch pos"]:
    """Token ids of texts, padded to one length.

    Args:
        tokenizer: the tokenizer.
        texts: the texts, without a chat template.
        bos: whether each begins with the tokenizer's first token.
        side: where shorter ones are padded.
        most: how many tokens are kept; None for all.

    Raises:
        InputError: no first token, or none to pad with.
    """
    first = [tokenizer.bos_token_id] if bos else []
    if first == [None]:
        raise InputError("this tokenizer has no first token: prepend_bos=False")
    rows = [first + tokenizer(t, add_special_tokens=False)["input_ids"] for t in texts]
    rows = [row[:most] for row in rows]
    longest = max(map(len, rows))
    pad = tokenizer.pad_token_id
    if pad is None and any(len(row) < longest for row in rows):
        raise InputError("texts of several lengths, and no token to pad with: pass them one by one")
    filled = [[pad] * (longest - len(row)) for row in rows]
    made = [[*p, *r] if side == "left" else [*r, *p] for p, r in zip(filled, rows, strict=True)]
    return torch.tensor(made, dtype=torch.long)


def as_texts(given: Any) -> list[str]:
    """One text or several.

    Raises:
        InputError: anything else, or none.
    """
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list | tuple) or not texts:
        raise InputError(f"{shown(given)} is no text: pass one, or a list of them")
    return [word(text, "input") for text in texts]


def as_ids(given: Any, dimensions: int) -> list[Any]:
    """Token ids as plain numbers, of so many dimensions at most.

    Raises:
        InputError: anything else.
    """
    ids = plain(given)
    rows = ids if isinstance(ids, list | tuple) else [ids]
    deep = any(isinstance(row, list | tuple) for row in rows)
    if deep and (dimensions < 2 or not all(isinstance(row, list | tuple) for row in rows)):
        raise InputError(f"{shown(given)}: token ids of {dimensions} dimensions at most are wanted")
    for row in rows if deep else [rows]:
        for each in row:
            if isinstance(each, list | tuple):
                raise InputError(f"{shown(given)}: token ids have {dimensions} dimensions at most")
            whole(each, "tokens", 0, LARGEST)
    return [list(row) for row in rows] if deep else list(rows)


def str_tokens(tokenizer: Any, ids: list[int]) -> list[str]:
    """Every token's own text."""
    return [tokenizer.decode([each], clean_up_tokenization_spaces=False) for each in ids]


def place_of(ids: list[int], token: int, mode: str) -> int:
    """The first or the last position of a token.

    Raises:
        InputError: it is not there.
    """
    one_of(mode, "mode", ("first", "last"))
    found = [at for at, each in enumerate(ids) if each == token]
    if not found:
        raise InputError(f"token {token} is not among these {len(ids)} tokens")
    return found[0] if mode == "first" else found[-1]


def wants_bos(given: Any, default: bool) -> bool:
    """Whether a text is to begin with the tokenizer's first token; None for as the model's own."""
    return default if given is None else flag(given, "prepend_bos")
