"""The chat template, and which role each of its characters plays.

The template is rendered twice: as it is, and with the text of every message between two marks
from Unicode's private area. Where the marks end up says which characters are whose, whatever the
template writes around them; nothing depends on the wording of any one template.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from jinja2 import TemplateError

from vlmlens.checks import shown
from vlmlens.conversation import PLACEHOLDER, VIDEO_PLACEHOLDER, Message, parts_of
from vlmlens.errors import InputError, UnsupportedModelError
from vlmlens.model.sequence.turning import kinds_of, refuse_moved, starts_of
from vlmlens.model.sequence.videos import template_for
from vlmlens.sample import Sample

OPEN, CLOSE = "\ue000", "\ue001"
BETWEEN = re.compile(f"{OPEN}(.*?){CLOSE}", re.DOTALL)


@dataclass(frozen=True)
class Chat:
    """A rendered conversation.

    Attributes:
        text: what the template made of it, with one placeholder an image or a video.
        spans: (first character, one past the last, role) of every message's text.
        answer: what the template makes of the assistant's message; empty where the prompt ends.
        turns: the character where each turn begins.
        seen: the kinds of pictures and videos in the prompt's order; empty where it has none.
    """

    text: str
    spans: tuple[tuple[int, int, str], ...]
    answer: str = ""
    turns: tuple[int, ...] = (0,)
    seen: tuple[str, ...] = ()


@dataclass(frozen=True)
class Options:
    """What prepares samples, beside the samples.

    Attributes:
        system: a system prompt.
        tools: what the template is told of tools.
        template: further variables of the template.
        images: what the image processor is told.
        videos: what the video processor is told.
    """

    system: str | None = None
    tools: Sequence[Mapping[str, Any]] | None = None
    template: Mapping[str, Any] = field(default_factory=dict)
    images: Mapping[str, Any] = field(default_factory=dict)
    videos: Mapping[str, Any] = field(default_factory=dict)


def render(
    sample: Sample,
    processor: Any,
    options: Options,
    answer: str | None = None,
    fallback: str = "",
) -> Chat:
    """A question or a conversation through the chat template, up to the answer's begin or its end.

    Args:
        sample: what is said, and how many images come with it.
        processor: whose chat template is used.
        options: the system prompt, and what the template is told beside the messages.
        answer: what the assistant says.
        fallback: the template, where the processor has none.

    Raises:
        InputError: the question holds another number of placeholders than there are images, or
            characters that we mark with, or the template changes what it is given, or puts the
            images elsewhere.
    """
    tokens = _tokens(processor)
    _refuse_unspeakable(sample, options, answer, tokens)
    template = template_for(sample, processor, fallback)
    if not template:
        raise UnsupportedModelError(
            "the processor has no chat template; set processor.chat_template to the one the model "
            "was trained with, or use model.inputs_from(...) with tensors"
        )
    rendered = partial(_rendered, processor, template, options)
    _refuse_unread(options, template)
    marked, given = "", list[tuple[str, str]]()
    for messages, mark in _readings(sample, options.system, tokens):
        asks = messages[-1]["role"] != "assistant"
        plain = rendered(messages, add_generation_prompt=asks)
        marked = rendered([_marked(m, mark) for m in messages], add_generation_prompt=asks)
        given = [(m["role"], mark(p["text"])[1]) for m in messages for p in _texts(m)]
        given = [(role, text) for role, text in given if text]
        spans = _spans(plain, marked, given)
        if spans is not None:
            break
    else:
        raise InputError(_what_became(BETWEEN.findall(marked), given))
    if options.tools is not None:
        untold = partial(_rendered, processor, template, replace(options, tools=None))
        _check_tools(plain, untold(messages, add_generation_prompt=asks), tokens)
    marks = (PLACEHOLDER, VIDEO_PLACEHOLDER, *tokens)
    placed = sample.messages or any(mark in sample.question for mark in marks)
    if placed:
        alone = [m | {"content": _texts(m) or [_text("")]} for m in messages]
        without = rendered([_marked(m, mark) for m in alone], add_generation_prompt=asks)
        around = [BETWEEN.split(text)[::2] for text in (marked, without)]
        refuse_moved(messages, around, lambda text: bool(mark(text)[1]))
    starts = starts_of(messages, plain, spans, rendered, lambda text: bool(mark(text)[1]))
    said = "" if answer is None else _answer(answer, messages, plain, rendered)
    return Chat(plain, tuple(spans), said, starts, kinds_of(messages) if placed else ())


def _tokens(processor: Any) -> tuple[str, ...]:
    """What a tokenizer reads as a picture, and as a video where it knows any."""
    video = getattr(processor, "video_token", None)
    return (getattr(processor, "image_token", PLACEHOLDER), *([] if video is None else [video]))


def _check_tools(told: str, untold: str, tokens: Sequence[str]) -> None:
    """Refuse tools that a template writes nothing of, and those that would be read as pictures."""
    if told == untold:
        raise InputError("the chat template writes nothing of the tools: leave tools= out")
    for token in tokens:
        if told.count(token) != untold.count(token):
            raise InputError(
                f"the tools hold {token}, which the tokenizer would read as a picture: write it "
                "in another way there"
            )


def _answer(
    answer: str, messages: list[dict[str, Any]], plain: str, rendered: Callable[..., str]
) -> str:
    """What the template makes of an answer to all that was said."""
    if messages[-1]["role"] == "assistant":
        raise InputError("the conversation ends with what the assistant says: no answer follows it")
    full = rendered([*messages, {"role": "assistant", "content": [_text(answer)]}])
    if not full.startswith(plain) or answer not in full[len(plain) :]:
        raise InputError(
            "the chat template does not put the answer after its generation prompt, so "
            f"{answer!r} cannot be scored; it made {full[-80:]!r}"
        )
    return full[len(plain) :]


def _readings(
    sample: Sample, system: str | None, tokens: Sequence[str]
) -> Iterator[tuple[list[dict[str, Any]], Callable[[str], tuple[str, str, str]]]]:
    """Ways to hand the sample to a template, and to mark its texts, until one is left unchanged.

    Some templates trim what they are given, others leave white space beside images as it is.
    """
    first = [Message("system", (system,)).as_dict()] if system else []
    if sample.messages:
        messages = [*first, *(message.as_dict() for message in sample.conversation())]
        yield messages, lambda text: ("", text, "") if text.strip() else (text, "", "")
        yield messages, _trimmed
        return
    for spaces in (True, False):
        pictures, films = (PLACEHOLDER, tokens[0]), (VIDEO_PLACEHOLDER, *tokens[1:])
        counts = len(sample.images), len(sample.videos)
        parts = parts_of(sample.question, counts[0], pictures, spaces, counts[1], films)
        yield [*first, Message("user", parts).as_dict()], lambda text: ("", text, "")


def _trimmed(text: str) -> tuple[str, str, str]:
    """White space before a text, the text, white space after it."""
    core = text.strip()
    before, _, after = text.partition(core) if core else (text, "", "")
    return before, core, after


def _spans(
    plain: str, marked: str, given: list[tuple[str, str]]
) -> list[tuple[int, int, str]] | None:
    """Where every message's text stands in the plain rendering; None if it was rewritten."""
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


def _what_became(found: list[str], given: list[tuple[str, str]]) -> str:
    """What a template did to the texts that it was given."""
    advice = (
        "so the roles of its tokens cannot be determined; set a processor.chat_template that "
        "writes every message once and in order, or use model.inputs_from(...) with tensors and "
        "roles"
    )
    texts = [text for _, text in given]
    lost = next(((role, text) for role, text in given if text not in found), None)
    if lost is not None and set(found) < set(texts):
        return f"the chat template drops what the {lost[0]} says, {lost[1]!r:.60}, {advice}"
    if sorted(found) == sorted(texts) and found != texts:
        return f"the chat template puts the messages in another order, {advice}"
    if len(found) > len(texts) and set(found) == set(texts):
        return f"the chat template writes a message more than once, {advice}"
    return f"the chat template rewrites or moves what it is given, {advice}"


def _refuse_unspeakable(
    sample: Sample, options: Options, answer: str | None, tokens: Sequence[str]
) -> None:
    """Refuse what no tokenizer can take, what we mark with, and images where none can be."""
    texts = [("system prompt", options.system), ("answer", answer)]
    if sample.messages:
        if options.system and any(m.role == "system" for m in sample.conversation()):
            raise InputError(
                "the conversation has a system prompt of its own, and system= gives another: "
                "leave one of them out"
            )
        texts += [
            (f"text of the {message.role}", part)
            for message in sample.conversation()
            for part in message.content
            if isinstance(part, str)
        ]
    else:
        _refuse_unreadable("question", sample.question)
    for name, text in texts:
        if text is None:
            continue
        _refuse_unreadable(name, text)
        if held := next((token for token in tokens if token in text), None):
            where = (
                "messages hold them as parts" if sample.messages else "images go in the question"
            )
            raise InputError(f"the {name} {text!r} holds {held}; {where}")


def _refuse_unread(options: Options, template: Any) -> None:
    """Refuse variables that the template does not name."""
    written = template if isinstance(template, str) else str(dict(template))
    for name in options.template:
        if not re.search(rf"\b{re.escape(str(name))}\b", written):
            raise InputError(
                f"the chat template does not read {name}, so template_kwargs would change nothing"
            )


def _refuse_unreadable(name: str, text: Any) -> None:
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


def _rendered(
    processor: Any, template: Any, told: Options, messages: list[dict[str, Any]], **options: Any
) -> str:
    known = None if template is getattr(processor, "chat_template", None) else template
    more = {} if told.tools is None else {"tools": list(told.tools)}
    try:
        return processor.apply_chat_template(
            messages, chat_template=known, tokenize=False, **more, **told.template, **options
        )
    except TemplateError as error:
        raise InputError(f"the model's chat template refuses these messages: {error}") from error


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def _texts(message: Mapping[str, Any]) -> list[dict[str, str]]:
    return [part for part in message["content"] if part["type"] == "text"]


def _marked(message: dict[str, Any], mark: Callable[[str], tuple[str, str, str]]) -> dict[str, Any]:
    content = []
    for part in message["content"]:
        if part["type"] == "text":
            before, text, after = mark(part["text"])
            part = _text(before + (OPEN + text + CLOSE if text else "") + after)
        content.append(part)
    return message | {"content": content}
