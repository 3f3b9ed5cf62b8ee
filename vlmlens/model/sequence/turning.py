"""Where the turns of a rendered conversation begin, and whether its images stay in place."""

from collections.abc import Callable, Sequence
from typing import Any

from vlmlens.conversation import PLACEHOLDER, SEEN, VIDEO_PLACEHOLDER
from vlmlens.errors import InputError

Messages = list[dict[str, Any]]
Spans = Sequence[tuple[int, int, str]]


def starts_of(
    messages: Messages,
    plain: str,
    spans: Spans,
    rendered: Callable[..., str],
    counts: Callable[[str], bool],
) -> tuple[int, ...]:
    """The character where each turn begins.

    A turn begins where the user speaks, first or after the assistant. Its first character is the
    one after the template's rendering of all messages before; where that is no beginning of the
    whole, the one after the last text before.

    Args:
        messages: what is said.
        plain: the rendering of all of it.
        spans: where every text stands there.
        rendered: renders other messages.
        counts: whether a text has a span.
    """
    starts: list[int] = []
    texts, answered = 0, True
    for number, message in enumerate(messages):
        if message["role"] == "user" and answered:
            starts.append(_start(messages, number, plain, spans, texts, rendered))
            answered = False
        answered |= message["role"] == "assistant"
        texts += sum(p["type"] == "text" and counts(p["text"]) for p in message["content"])
    return tuple(starts)


def _start(
    messages: Messages,
    number: int,
    plain: str,
    spans: Spans,
    texts: int,
    rendered: Callable[..., str],
) -> int:
    """The first character of a message, ``texts`` texts standing before it."""
    if not number:
        return 0
    after = spans[texts - 1][1] if texts else 0
    before = spans[texts][0] if texts < len(spans) else len(plain)
    try:
        text = rendered(messages[:number])
    except InputError:  # a template that wants the user to come first, say: after the last text
        return after
    return len(text) if plain.startswith(text) and after <= len(text) <= before else after


def refuse_moved(
    messages: Messages, around: Sequence[list[str]], counts: Callable[[str], bool]
) -> None:
    """Refuse a template that puts images elsewhere among the texts, or drops some.

    They stand where the rendering differs from the one of the texts alone.

    Args:
        messages: what is said.
        around: what the template writes between the texts, with the images and without.
        counts: whether a text is one of these.

    Raises:
        InputError: where they were put, and where they are.
    """
    wanted, texts = set(), 0
    for part in (part for message in messages for part in message["content"]):
        texts += part["type"] == "text" and counts(part["text"])
        if part["type"] != "text":
            wanted.add(texts)
    bare = (["".join(part.split()) for part in parts] for parts in around)
    found = {at for at, (one, other) in enumerate(zip(*bare, strict=True)) if one != other}
    if found != wanted:
        where = f"puts them after {_counted(found)}" if found else "leaves them out"
        raise InputError(
            f"the prompt places its images after {_counted(wanted)} texts, and the chat template "
            f"{where}: leave {PLACEHOLDER} out of a question, or give a conversation's images "
            "where the template puts them; or set a processor.chat_template that keeps them in "
            "their places"
        )


def kinds_of(messages: Messages) -> tuple[str, ...]:
    """``"image"`` or ``"video"`` for each picture and video, as the messages place them."""
    every = (part["type"] for message in messages for part in message["content"])
    return tuple(kind for kind in every if kind != "text")


def refuse_swapped(said: Sequence[str], stand: Sequence[str]) -> None:
    """Refuse a template that writes pictures and videos in another order than they were given.

    Those that stand between the same two texts change places without changing what is around.

    Args:
        said: the kind of each in the prompt, ``"image"`` or ``"video"``, in order; empty where it
            does not place them.
        stand: the same as the processor found them in what the template wrote.

    Raises:
        InputError: both orders.
    """
    if said and list(said) != list(stand):
        given, found = (", ".join(SEEN[kind] for kind in kinds) for kinds in (said, stand))
        raise InputError(
            f"the prompt places its images in the order {given}, and the chat template writes "
            f"{found or 'none'}: leave {PLACEHOLDER} and {VIDEO_PLACEHOLDER} out of a question, or "
            "give a conversation's images in the order that the template writes them in; or set a "
            "processor.chat_template that keeps them in their places"
        )


def _counted(places: set[int]) -> str:
    return " and ".join(map(str, sorted(places)))
