"""A conversation: who says what, and where its pictures stand among the words."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from vlmlens.annotations import Checked
from vlmlens.checks import one_of, shown
from vlmlens.errors import InputError

#: Who can speak.
SPEAKERS = ("system", "user", "assistant")
#: Where a question says that a picture stands; in a message it is a word like any other.
PLACEHOLDER = "<image>"
#: What content can be in transformers' form, beside text and an image, and what to do with it.
ELSEWHERE = {
    "video": "videos are not laid out; give their frames, each an image",
    "audio": "no model here hears",
    "image_url": "write {'type': 'image', 'image': a picture or a file}",
}


@dataclass(frozen=True)
class Slot:
    """Where a picture stands in a message; which one is counted over the conversation."""

    def __repr__(self) -> str:
        return "IMAGE"


IMAGE = Slot()


@dataclass(frozen=True)
class Message(Checked):
    """What one side says at once: texts, and the places of pictures, in their order.

    ``Sample(messages=...)`` makes these of transformers' own form and keeps the pictures.

    Attributes:
        role: ``"system"``, ``"user"`` or ``"assistant"``.
        content: texts, and ``vlmlens.conversation.IMAGE`` where a picture stands.

    Raises:
        InputError: another role, or what is neither.

    Examples:
        >>> from vlmlens.conversation import IMAGE, Message
        >>> asked = Message("user", (IMAGE, "What is this?"))
        >>> asked.text, asked.images
        ('What is this?', 1)
        >>> asked.as_dict()["content"]
        [{'type': 'image'}, {'type': 'text', 'text': 'What is this?'}]
    """

    ADVICE: ClassVar = {"text": "write content=", "images": "write IMAGE in content="}

    role: str
    content: Sequence[str | Slot]

    def __post_init__(self):
        one_of(self.role, "role", SPEAKERS)
        given = (self.content,) if isinstance(self.content, str) else self.content
        if not isinstance(given, list | tuple):
            raise InputError(f"content is {shown(given)}; give a text, or a list of parts")
        for part in given:
            if not isinstance(part, str | Slot):
                raise InputError(f"content holds {shown(part)}, which is no text and no IMAGE")
        if not any(given):
            raise InputError(f"a message of the {self.role} is empty: leave it out")
        object.__setattr__(self, "content", tuple(given))

    @property
    def text(self) -> str:
        """Its texts, one after the other."""
        return "".join(part for part in self.content if isinstance(part, str))

    @property
    def images(self) -> int:
        """How many pictures stand in it."""
        return sum(isinstance(part, Slot) for part in self.content)

    def as_dict(self) -> dict[str, Any]:
        """The message as transformers' chat templates read it, without the pictures."""
        content = [
            {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
            for part in self.content
        ]
        return {"role": self.role, "content": content}

    def without_images(self) -> "Message":
        """The same words alone."""
        return replace(self, content=tuple(p for p in self.content if isinstance(p, str)))


def as_messages(given: Any) -> tuple[tuple[Message, ...], list[Any]]:
    """What a user wrote for a conversation, and the pictures that came within it.

    Args:
        given: messages, or transformers' own form: ``{"role": ..., "content": ...}`` with a text,
            or with a list of ``{"type": "text", "text": ...}`` and ``{"type": "image",
            "image": ...}``. ``path`` stands for ``image``; an image without either is the next of
            ``Sample.images``.

    Raises:
        InputError: what is none of these; pictures for some places and not for others.

    Examples:
        >>> from vlmlens.conversation import as_messages
        >>> as_messages([{"role": "user", "content": "What is left?"}])
        ((Message(role='user', content=('What is left?',)),), [])
    """
    if not isinstance(given, list | tuple) or not given:
        raise InputError(
            f"messages is {shown(given)}: a list of {{'role': ..., 'content': ...}} is wanted"
        )
    found: list[Any] = []
    messages = tuple(_message(one, f"messages[{n}]", found) for n, one in enumerate(given))
    bare = sum(picture is None for picture in found)
    if bare and bare != len(found):
        raise InputError(
            f"{len(found) - bare} of {len(found)} images in messages hold a picture: give all of "
            "them there, or all of them in images="
        )
    if not any(message.role == "user" for message in messages):
        raise InputError("messages hold nothing that the user says")
    return messages, [] if bare else found


def _message(given: Any, place: str, found: list[Any]) -> Message:
    if isinstance(given, Message):
        found += [None] * given.images
        return given
    if not isinstance(given, Mapping):
        raise InputError(f"{place} is {shown(given)}: {{'role': ..., 'content': ...}} is wanted")
    if others := [str(name) for name in given if name not in ("role", "content")]:
        raise InputError(f"{place} holds {', '.join(others)}; role and content alone are read")
    if missing := [name for name in ("role", "content") if name not in given]:
        raise InputError(f"{place} has no {missing[0]}")
    content = given["content"]
    if isinstance(content, list | tuple):
        content = [_part(part, f"{place}['content'][{n}]", found) for n, part in enumerate(content)]
    try:
        return Message(given["role"], content)
    except InputError as error:
        raise InputError(f"{place}: {error}") from error


def _part(given: Any, place: str, found: list[Any]) -> str | Slot:
    if isinstance(given, str):
        return given
    if isinstance(given, Slot):
        found.append(None)
        return given
    kind = given.get("type") if isinstance(given, Mapping) else None
    if kind == "text" and isinstance(given.get("text"), str) and len(given) == 2:
        return given["text"]
    if kind == "image":
        named = [name for name in given if name != "type"]
        if not named:
            found.append(None)
            return IMAGE
        if named[0] in ("image", "path") and len(named) == 1:
            found.append(given[named[0]])
            return IMAGE
        raise InputError(
            f"{place} gives an image by {', '.join(map(str, named))}: give the picture itself or "
            "its file, {'type': 'image', 'image': ...}; nothing is downloaded"
        )
    if advice := ELSEWHERE.get(str(kind)):
        raise InputError(f"{place} is of type {kind!r}: {advice}")
    raise InputError(
        f"{place} is {shown(given)}: {{'type': 'text', 'text': ...}} or "
        "{'type': 'image', 'image': ...} is wanted"
    )


def parts_of(
    question: str, images: int, placeholders: Sequence[str] = (PLACEHOLDER,), spaces: bool = True
) -> list[str | Slot]:
    """A question's parts: pictures where it says so, or before its words.

    Args:
        question: the text; a placeholder stands for a picture.
        images: how many there are.
        placeholders: what stands for one.
        spaces: keep white space between text and pictures.

    Raises:
        InputError: another number of placeholders than of pictures, or nothing at all.

    Examples:
        >>> from vlmlens.conversation import parts_of
        >>> parts_of("What is it?", 1), parts_of("Is <image> like <image>?", 2)
        ([IMAGE, 'What is it?'], ['Is ', IMAGE, ' like ', IMAGE, '?'])
    """
    pieces = re.split("|".join(map(re.escape, placeholders)), question)
    found = len(pieces) - 1
    if found and found != images:
        raise InputError(
            f"the prompt holds {found} image placeholder(s) ({PLACEHOLDER}), but {images} image(s) "
            "were given; give as many, or leave the placeholders out and the images come first"
        )
    if not found:
        pieces = [""] * images + [question]
    said = [number for number, piece in enumerate(pieces) if piece.strip()]
    content: list[str | Slot] = []
    for number, piece in enumerate(pieces):
        if number:
            content.append(IMAGE)
        inside = spaces and said and said[0] <= number <= said[-1]
        text = piece if inside else piece.strip()
        if said and number == said[0]:
            text = text.lstrip()
        if said and number == said[-1]:
            text = text.rstrip()
        if text:
            content.append(text)
    if not content:
        raise InputError("the question is empty, and there is no image")
    return content
