"""The chat template, and which role each of its tokens plays.

The template is rendered twice: as it is, and with the text of every message between two marks
from Unicode's private area. Where the marks end up says which characters are whose, whatever the
template writes around them; nothing depends on the wording of any one template.
"""

import re
from dataclasses import dataclass
from functools import partial
from typing import Any

from jinja2 import TemplateError

from vlmlens.checks import shown
from vlmlens.errors import InputError, UnsupportedModelError

OPEN, CLOSE = "\ue000", "\ue001"
PLACEHOLDER = "<image>"


@dataclass(frozen=True)
class Chat:
    """A rendered conversation.

    Attributes:
        text: what the template made of it, with one placeholder an image.
        spans: (first character, one past the last, role) of every message's text.
        answer: what the template makes of the assistant's message; empty where the prompt ends.
    """

    text: str
    spans: tuple[tuple[int, int, str], ...]
    answer: str = ""


def render(
    question: str,
    images: int,
    processor: Any,
    system: str | None,
    answer: str | None = None,
    fallback: str = "",
) -> Chat:
    """One question through the model's chat template, up to the answer's begin or its end.

    Args:
        question: what the user says.
        images: how many images come with it.
        processor: whose chat template is used.
        system: a system prompt.
        answer: what the assistant says.
        fallback: the template, where the processor has none.

    Raises:
        InputError: the question holds another number of placeholders than there are images, or
            characters that we mark with, or the template changes what it is given, or puts the
            images elsewhere.
    """
    for name, text in (("question", question), ("system prompt", system), ("answer", answer)):
        _refuse_unspeakable(name, text)
    image_token = getattr(processor, "image_token", PLACEHOLDER)
    for name, text in (("system prompt", system), ("answer", answer)):
        if image_token in (text or ""):
            raise InputError(f"the {name} {text!r} holds {image_token}; images go in the question")
    first = {"role": "system", "content": [{"type": "text", "text": system}]}
    template = getattr(processor, "chat_template", None) or fallback
    if not template:
        raise UnsupportedModelError(
            "the processor has no chat template; set processor.chat_template to the one the model "
            "was trained with, or use model.inputs_from(...) with tensors"
        )
    rendered = partial(_rendered, processor, template)
    for spaces in (True, False):  # around placeholders, for templates that leave them as they are
        content = _content(question, images, image_token, spaces)
        messages = [first] * bool(system) + [{"role": "user", "content": content}]
        plain = rendered(messages, add_generation_prompt=True)
        marked = rendered([_marked(m) for m in messages], add_generation_prompt=True)
        spans = _spans(plain, marked, messages)
        if spans is not None:
            break
    else:
        raise InputError(
            "the chat template rewrites or moves what it is given, so the roles of its tokens "
            "cannot be determined; use model.inputs_from(...) with tensors and roles"
        )
    if PLACEHOLDER in question or image_token in question:
        alone = [m | {"content": [p for p in m["content"] if _is_text(p)]} for m in messages]
        without = rendered([_marked(m) for m in alone], add_generation_prompt=True)
        _refuse_moved(messages, marked, without)
    said = ""
    if answer is not None:
        reply = {"role": "assistant", "content": [{"type": "text", "text": answer}]}
        full = rendered([*messages, reply])
        if not full.startswith(plain) or answer not in full[len(plain) :]:
            raise InputError(
                "the chat template does not put the answer after its generation prompt, so "
                f"{answer!r} cannot be scored; it made {full[-80:]!r}"
            )
        said = full[len(plain) :]
    return Chat(plain, tuple(spans), said)


def _spans(
    plain: str, marked: str, messages: list[dict[str, Any]]
) -> list[tuple[int, int, str]] | None:
    """Where every message's text stands in the plain rendering; None if it was rewritten."""
    given = [(m["role"], part["text"]) for m in messages for part in m["content"] if _is_text(part)]
    spans, clean, at, texts = [], [], 0, []
    for part in re.split(f"({OPEN}.*?{CLOSE})", marked, flags=re.DOTALL):
        if part.startswith(OPEN):
            part = part[1:-1]
            role = given[len(spans)][0] if len(spans) < len(given) else "user"
            spans.append((at, at + len(part), role))
            texts.append(part)
        clean.append(part)
        at += len(part)
    return spans if "".join(clean) == plain and texts == [text for _, text in given] else None


def _refuse_moved(messages: list[dict[str, Any]], marked: str, without: str) -> None:
    """Refuse a template that puts images elsewhere within the text.

    They stand where the rendering differs from the one of the text alone.
    """
    wanted, texts = set(), 0
    for part in (part for message in messages for part in message["content"]):
        texts += _is_text(part)
        if not _is_text(part):
            wanted.add(texts)
    around = [
        ["".join(part.split()) for part in re.split(f"{OPEN}.*?{CLOSE}", text, flags=re.DOTALL)]
        for text in (marked, without)
    ]
    found = {at for at, (one, other) in enumerate(zip(*around, strict=True)) if one != other}
    if found != wanted:
        raise InputError(
            f"the prompt places its images after {_counted(wanted)} texts, and the chat template "
            f"puts them after {_counted(found)}: leave {PLACEHOLDER} out, and they stand where the "
            "template puts them, or set a processor.chat_template that keeps them in their places"
        )


def _counted(places: set[int]) -> str:
    return " and ".join(map(str, sorted(places)))


def _refuse_unspeakable(name: str, text: Any) -> None:
    """Refuse what no tokenizer can take, and what we mark with."""
    if text is None and name != "question":
        return
    if not isinstance(text, str):
        raise InputError(f"the {name} is {shown(text)}, and no text")
    if OPEN in text or CLOSE in text:
        raise InputError(f"the {name} holds the private-use characters U+E000 or U+E001")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        lone = text[error.start]
        raise InputError(
            f"the {name} holds half of a character, the lone surrogate {lone!r} at "
            f"{error.start}, which no tokenizer can read: decode its source as UTF-8 or UTF-16"
        ) from error


def _content(question: str, images: int, image_token: str, spaces: bool) -> list[dict[str, str]]:
    """The question's parts, with white space between its text and images or without."""
    pieces = re.split(f"{re.escape(PLACEHOLDER)}|{re.escape(image_token)}", question)
    found = len(pieces) - 1
    if found and found != images:
        raise InputError(
            f"the prompt holds {found} image placeholder(s) ({PLACEHOLDER}), but {images} image(s) "
            "were given; give as many, or leave the placeholders out and the images come first"
        )
    if not found:
        pieces = [""] * images + [question]
    said = [number for number, piece in enumerate(pieces) if piece.strip()]
    content: list[dict[str, str]] = []
    for number, piece in enumerate(pieces):
        if number:
            content.append({"type": "image"})
        inside = spaces and said and said[0] <= number <= said[-1]
        text = piece if inside else piece.strip()
        if said and number == said[0]:
            text = text.lstrip()
        if said and number == said[-1]:
            text = text.rstrip()
        if text:
            content.append({"type": "text", "text": text})
    if not any(_is_text(part) for part in content):
        raise InputError("the question is empty")
    return content


def _rendered(processor: Any, template: Any, messages: list[dict[str, Any]], **options: Any) -> str:
    try:
        known = None if template is getattr(processor, "chat_template", None) else template
        return processor.apply_chat_template(messages, known, tokenize=False, **options)
    except TemplateError as error:
        raise InputError(f"the model's chat template refuses these messages: {error}") from error


def _is_text(part: dict[str, str]) -> bool:
    return part["type"] == "text"


def _marked(message: dict[str, Any]) -> dict[str, Any]:
    content = [
        part | {"text": OPEN + part["text"] + CLOSE} if _is_text(part) else part
        for part in message["content"]
    ]
    return message | {"content": content}
