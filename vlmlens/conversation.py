"""A conversation: who says what, and where its pictures and videos stand among the words."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeAlias

from vlmlens.annotations import Checked
from vlmlens.checks import one_of, shown
from vlmlens.errors import InputError

#: Who can speak.
SPEAKERS = ("system", "user", "assistant")
#: Where a question says that a picture stands; in a message it is a word like any other.
PLACEHOLDER = "<image>"
#: Where a question that comes with videos says that one stands.
VIDEO_PLACEHOLDER = "<video>"
#: What content can be in transformers' form, beside text and what is seen, and what to do with it.
ELSEWHERE = {
    "audio": "no model here hears",
    "image_url": "write {'type': 'image', 'image': a picture or a file}",
}


@dataclass(frozen=True)
class Slot:
    """Where a picture or a video stands in a message; which is counted over the conversation."""

    kind: str = "image"

    def __repr__(self) -> str:
        return self.kind.upper()


IMAGE = Slot()
VIDEO = Slot("video")
#: What each kind of part is called.
SEEN = {"image": "picture", "video": "video"}
#: What stands in messages, by its kind: itself, or None for the next of those given beside.
Found: TypeAlias = dict[str, list[Any]]


@dataclass(frozen=True)
class Message(Checked):
    """What one side says at once: texts, and the places of pictures, in their order.

    ``Sample(messages=...)`` makes these of transformers' own form and keeps the pictures.

    Attributes:
        role: ``"system"``, ``"user"`` or ``"assistant"``.
        content: texts, and ``vlmlens.conversation.IMAGE`` where a picture stands, ``VIDEO`` where
            a video does.

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
                raise InputError(f"content holds {shown(part)}: no text, no IMAGE and no VIDEO")
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
        return self.content.count(IMAGE)

    @property
    def videos(self) -> int:
        """How many videos stand in it."""
        return self.content.count(VIDEO)

    def as_dict(self) -> dict[str, Any]:
        """The message as transformers' chat templates read it, without the pictures."""
        content = [
            {"type": "text", "text": part} if isinstance(part, str) else {"type": part.kind}
            for part in self.content
        ]
        return {"role": self.role, "content": content}

    def without_images(self) -> "Message":
        """The same words alone."""
        return replace(self, content=tuple(p for p in self.content if isinstance(p, str)))


def as_messages(given: Any) -> tuple[tuple[Message, ...], list[Any], list[Any]]:
    """What a user wrote for a conversation, and the pictures and the videos within it.

    Args:
        given: messages, or transformers' own form: ``{"role": ..., "content": ...}`` with a text,
            or with a list of ``{"type": "text", "text": ...}``, ``{"type": "image",
            "image": ...}`` and ``{"type": "video", "video": ...}``. ``path`` stands for either;
            one without is the next of ``Sample.images`` or ``Sample.videos``.

    Raises:
        InputError: what is none of these; pictures for some places and not for others.

    Examples:
        >>> from vlmlens.conversation import as_messages
        >>> as_messages([{"role": "user", "content": "What is left?"}])
        ((Message(role='user', content=('What is left?',)),), [], [])
    """
    if not isinstance(given, list | tuple) or not given:
        raise InputError(
            f"messages is {shown(given)}: a list of {{'role': ..., 'content': ...}} is wanted"
        )
    found: Found = {"image": [], "video": []}
    messages = tuple(_message(one, f"messages[{n}]", found) for n, one in enumerate(given))
    for kind, within in found.items():
        bare = sum(each is None for each in within)
        if bare and bare != len(within):
            raise InputError(
                f"{len(within) - bare} of {len(within)} {kind}s in messages hold a "
                f"{SEEN[kind]}: give all of them there, or all of them in {kind}s="
            )
    if not any(message.role == "user" for message in messages):
        raise InputError("messages hold nothing that the user says")
    pictures, videos = ([x for x in within if x is not None] for within in found.values())
    return messages, pictures, videos


def _message(given: Any, place: str, found: Found) -> Message:
    if isinstance(given, Message):
        found["image"] += [None] * given.images
        found["video"] += [None] * given.videos
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


def _part(given: Any, place: str, found: Found) -> str | Slot:
    if isinstance(given, str):
        return given
    if isinstance(given, Slot):
        found[given.kind].append(None)
        return given
    kind = given.get("type") if isinstance(given, Mapping) else None
    if kind == "text" and isinstance(given.get("text"), str) and len(given) == 2:
        return given["text"]
    if kind in SEEN:
        named = [name for name in given if name != "type"]
        if not named or (len(named) == 1 and named[0] in (kind, "path")):
            found[kind].append(given[named[0]] if named else None)
            return Slot(kind)
        raise InputError(
            f"{place} gives {'an image' if kind == 'image' else 'a video'} by "
            f"{', '.join(map(str, named))}: give the {SEEN[kind]} itself or its file, "
            f"{{'type': '{kind}', '{kind}': ...}}; nothing is downloaded"
        )
    if advice := ELSEWHERE.get(str(kind)):
        raise InputError(f"{place} is of type {kind!r}: {advice}")
    raise InputError(
        f"{place} is {shown(given)}: {{'type': 'text', 'text': ...}}, "
        "{'type': 'image', 'image': ...} or {'type': 'video', 'video': ...} is wanted"
    )


def parts_of(
    question: str,
    images: int,
    placeholders: Sequence[str] = (PLACEHOLDER,),
    spaces: bool = True,
    videos: int = 0,
    of_videos: Sequence[str] = (VIDEO_PLACEHOLDER,),
) -> list[str | Slot]:
    """A question's parts: pictures and videos where it says so, or before its words.

    Args:
        question: the text; a placeholder stands for a picture.
        images: how many there are.
        placeholders: what stands for one.
        spaces: keep white space between text and pictures.
        videos: how many there are. Without any, ``<video>`` is a word like any other.
        of_videos: what stands for one.

    Raises:
        InputError: another number of placeholders than of pictures or videos, or nothing at all.

    Examples:
        >>> from vlmlens.conversation import parts_of
        >>> parts_of("What is it?", 1), parts_of("Is <image> like <image>?", 2)
        ([IMAGE, 'What is it?'], ['Is ', IMAGE, ' like ', IMAGE, '?'])
    """
    named = dict.fromkeys(placeholders, IMAGE)
    named |= dict.fromkeys(of_videos, VIDEO) if videos else {}
    pieces = re.split(f"({'|'.join(map(re.escape, named))})", question)
    pieces, slots = pieces[::2], [named[mark] for mark in pieces[1::2]]
    first: list[Slot] = []
    for slot, count, mark in ((IMAGE, images, PLACEHOLDER), (VIDEO, videos, VIDEO_PLACEHOLDER)):
        held = slots.count(slot)
        if held and held != count:
            raise InputError(
                f"the prompt holds {held} {slot.kind} placeholder(s) ({mark}), but {count} "
                f"{slot.kind}(s) were given; give as many, or leave the placeholders out and the "
                f"{slot.kind}s come first"
            )
        first += [] if held else [slot] * count
    pieces, slots = [""] * len(first) + pieces, first + slots
    said = [number for number, piece in enumerate(pieces) if piece.strip()]
    content: list[str | Slot] = []
    for number, piece in enumerate(pieces):
        if number:
            content.append(slots[number - 1])
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
