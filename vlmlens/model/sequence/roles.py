"""Which role each token of a rendered conversation plays."""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any

from vlmlens.errors import InputError
from vlmlens.model.sequence.chat import Chat


def role_of_tokens(
    chat: Chat,
    text: str,
    ids: Sequence[int],
    offsets: Sequence[Sequence[int]],
    replaced: Sequence[dict],
    tokenizer: Any,
) -> tuple[list[str], list[bool]]:
    """The role of every token, from the first character of it that is no space.

    Args:
        chat: the rendered conversation.
        text: the same as the processor saw it, which may have written something around it.
        ids: the tokens of its text, placeholders already expanded.
        offsets: each token's characters in the expanded text.
        replaced: where the processor expanded placeholders, as transformers reports it.
        tokenizer: for the ids of special tokens.

    Returns:
        The roles; and which tokens an image's placeholder was expanded to.

    Raises:
        InputError: a message's text is not found among the tokens of its role.
    """
    spans, shift = [], 0
    expanded, last = [], 0
    moves = []
    for item in replaced:
        start, end = item["span"]
        expanded += [text[last:start], item["replacement"]]
        shift += len(item["replacement"]) - (end - start)
        moves.append((end, shift))
        last = end
    whole = "".join([*expanded, text[last:]])
    images = [tuple(item["new_span"]) for item in replaced]
    for start, end, role in _moved(chat, text):
        by = next((s for at, s in reversed(moves) if at <= start), 0)
        spans.append((start + by, end + by, role))
    roles, inside = [], []
    for token, (start, end) in zip(ids, offsets, strict=True):
        inside.append(any(a <= start and end <= b for a, b in images) and end > start)
        lead = len(whole[start:end]) - len(whole[start:end].lstrip())
        first = start + lead if lead < end - start else start
        role = next((r for a, b, r in spans if a <= first < b and end > start), "template")
        roles.append("bos" if token == tokenizer.bos_token_id and role == "template" else role)
    for start, end, role in spans:
        held = [
            i
            for i, (a, b), r in zip(ids, offsets, roles, strict=True)
            if r == role and a < end and b > start
        ]
        said = re.sub(r"\s", "", tokenizer.decode(held))
        if re.sub(r"\s", "", whole[start:end]) not in said and tokenizer.unk_token_id not in held:
            raise InputError(
                f"the {role}'s text {whole[start:end]!r} comes out of the tokenizer as {said!r}: "
                "the roles of its tokens cannot be determined"
            )
    return roles, inside


def _moved(chat: Chat, text: str) -> list[tuple[int, int, str]]:
    """The messages' spans in a text that a processor has written something into.

    Raises:
        InputError: the processor took something away.
    """
    if text == chat.text:
        return list(chat.spans)
    kept = SequenceMatcher(None, chat.text, text, autojunk=False).get_opcodes()
    if any(tag not in ("equal", "insert") for tag, *_ in kept):
        raise InputError(
            f"the processor rewrites {chat.text!r} to {text!r}, so the roles of its tokens cannot "
            "be determined; use model.inputs_from(...) with tensors and roles"
        )
    moves = [(start, to - start) for tag, start, _, to, _ in kept if tag == "equal"]

    def moved(at: int) -> int:
        return at + [by for start, by in moves if start <= at][-1]

    return [(moved(start), moved(end - 1) + 1, role) for start, end, role in chat.spans]
