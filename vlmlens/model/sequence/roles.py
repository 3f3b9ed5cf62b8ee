"""Which role each token of a rendered conversation plays."""

import re
from collections.abc import Callable, Sequence
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
) -> tuple[list[str], list[bool], list[int]]:
    """The role and the turn of every token, from the first character of it that is no space.

    Args:
        chat: the rendered conversation.
        text: the same as the processor saw it, which may have written something around it.
        ids: the tokens of its text, placeholders already expanded.
        offsets: each token's characters in the expanded text.
        replaced: where the processor expanded placeholders, as transformers reports it.
        tokenizer: for the ids of special tokens.

    Returns:
        The roles; which tokens an image's placeholder was expanded to; the turns.

    Raises:
        InputError: a message's text is not found among the tokens of its role.
    """
    whole, grown = _expanded(text, replaced)
    images = [tuple(item["new_span"]) for item in replaced]
    placed = _moved(chat, text)
    spans = []
    for start, end, role in chat.spans:
        first = placed(start)
        by = grown(first) - first
        spans.append((first + by, placed(end - 1) + 1 + by, role))
    begins = [grown(placed(start)) if start else 0 for start in chat.turns]
    roles, inside, turns = [], [], []
    for token, (start, end) in zip(ids, offsets, strict=True):
        inside.append(any(a <= start and end <= b for a, b in images) and end > start)
        lead = len(whole[start:end]) - len(whole[start:end].lstrip())
        first = start + lead if lead < end - start else start
        role = next((r for a, b, r in spans if a <= first < b and end > start), "template")
        role = "bos" if token == tokenizer.bos_token_id and role == "template" else role
        roles.append(role)
        if role == "bos":
            turns.append(-1)
        elif end <= start:  # written around the text by the tokenizer
            turns.append(turns[-1] if turns else -1)
        else:
            turns.append(sum(begin <= first for begin in begins) - 1)
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
    return roles, inside, turns


def _expanded(text: str, replaced: Sequence[dict]) -> tuple[str, Callable[[int], int]]:
    """The text with its placeholders expanded, and from a character's place to its new one."""
    parts, last, shift = [], 0, 0
    moves = []
    for item in replaced:
        start, end = item["span"]
        parts += [text[last:start], item["replacement"]]
        shift += len(item["replacement"]) - (end - start)
        moves.append((end, shift))
        last = end
    whole = "".join([*parts, text[last:]])
    return whole, lambda at: at + next((by for end, by in reversed(moves) if end <= at), 0)


def _moved(chat: Chat, text: str) -> Callable[[int], int]:
    """From a character of the rendering to its place in what a processor has written it into.

    Raises:
        InputError: the processor took something away.
    """
    if text == chat.text:
        return lambda at: at
    kept = SequenceMatcher(None, chat.text, text, autojunk=False).get_opcodes()
    if any(tag not in ("equal", "insert") for tag, *_ in kept):
        raise InputError(
            f"the processor rewrites {chat.text!r} to {text!r}, so the roles of its tokens cannot "
            "be determined; use model.inputs_from(...) with tensors and roles"
        )
    moves = [(start, to - start) for tag, start, _, to, _ in kept if tag == "equal"]
    return lambda at: at + next((by for start, by in reversed(moves) if start <= at), 0)
