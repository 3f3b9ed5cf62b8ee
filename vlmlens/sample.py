"""Sample: images and videos, a question, its choices, the answer."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from PIL import Image

from vlmlens.annotations import Checked
from vlmlens.checks import name, readable, shown
from vlmlens.conversation import PLACEHOLDER, Message, as_messages, parts_of
from vlmlens.errors import ImageError, InputError
from vlmlens.picture import Picture, fixed, name_of, open_picture, printable
from vlmlens.video import Video, as_videos, trace

__all__ = ["Picture", "Sample", "about", "open_picture", "with_answers_known"]


@dataclass(frozen=True)
class Sample(Checked):
    """One question about zero or more images.

    Attributes:
        question: what the user asks, without any chat template.
        images: pictures in the order of their placeholders, or a single one: images of PIL, paths,
            bytes, open files, arrays, tensors, ``{"bytes": ..., "path": ...}``, or functions that
            draw one. Files and functions are read lazily.
        answer: the right answer, or None where nobody knows it.
        choices: the answers it is chosen from, or () for a free answer.
        category: the group that accuracies are reported by.
        id: names the sample in results; unique in its data set.
        source: where it was read, for messages: a table and its line.
        options: what the letters stand for, where ``choices`` are letters.
        references: answers that people gave, for rules that compare with several.
        groups: further groups that it belongs to, by what they are: ``(("pair", "7"),)``.
        unit: which of its groups is drawn as one in intervals and tests: ``"pair"``; by default
            the samples that show a picture in common.
        form: which of a published set's ways to ask the question is put in: ``"pope/paper"``.
        messages: a whole conversation in place of the question, in transformers' own form:
            ``[{"role": "user", "content": [{"type": "image", "image": ...}, {"type": "text",
            "text": ...}]}, ...]``. Its pictures become ``images``, its videos ``videos``, and what
            its user says last is the ``question``. An image may also stand there bare, and
            ``images`` hold them in order. In a message ``<image>`` is a word like any other.
        videos: videos in the order of their placeholders, or a single one: a ``Video``, a list of
            frames, an array of them, or the path of a file.

    Raises:
        UnknownKeywordError: a keyword that is none of these.
        InputError: a question, answer, choice, category, id or the like that is no text; a unit
            that is none of its groups.
        ImageError: an image that is nothing a picture can be given as; see ``picture.fixed``.

    Examples:
        >>> from PIL import Image
        >>> vl.Sample("What is left?", Image.new("RGB", (8, 8)), answer="a cat", id="one").id
        'one'
        >>> vl.Sample(prompt="What is left?")
        Traceback (most recent call last):
        vlmlens.errors.UnknownKeywordError: ... write question=
        >>> chat = [
        ...     {"role": "user", "content": [{"type": "image", "image": Image.new("RGB", (8, 8))}]},
        ...     {"role": "assistant", "content": "A black square."},
        ...     {"role": "user", "content": "How large is it?"},
        ... ]
        >>> asked = vl.Sample(messages=chat)
        >>> asked.question, len(asked.images), asked.messages[0].content
        ('How large is it?', 1, (IMAGE,))
    """

    ADVICE: ClassVar = {"image": "write images=", "prompt": "write question="}

    question: str = ""
    images: Picture | tuple[Picture, ...] = ()
    answer: str | None = None
    choices: Sequence[str] = ()
    category: str = ""
    id: str = ""
    source: str = field(default="", compare=False, repr=False)
    options: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    groups: tuple[tuple[str, str], ...] = ()
    unit: str = ""
    form: str = field(default="", compare=False)
    messages: Sequence[Message | Mapping[str, Any]] = ()
    videos: Any = ()

    def __post_init__(self):
        for part in ("id", "source", "unit"):  # which messages name the sample by
            name(getattr(self, part), part)
        object.__setattr__(self, "source", printable(self.source))
        given = self.images if isinstance(self.images, list | tuple) else (self.images,)
        if not isinstance(self.messages, list | tuple):
            raise InputError(
                f"{self.named()}: messages is {shown(self.messages)}: a list of "
                "{'role': ..., 'content': ...} is wanted"
            )
        object.__setattr__(self, "messages", tuple(self.messages))
        videos = self.videos
        if self.messages:
            given, videos = self._conversing(given, videos)
        try:
            object.__setattr__(self, "images", tuple(map(fixed, given)))
            object.__setattr__(self, "videos", as_videos(videos))
        except (ImageError, InputError) as error:
            raise type(error)(f"{self.named()}: {error}") from error
        for part in ("choices", "options", "references"):
            given = getattr(self, part)
            if not isinstance(given, list | tuple):
                raise InputError(f"{self.named()}: {part} is {shown(given)}; pass a tuple of texts")
            object.__setattr__(self, part, tuple(given))
        object.__setattr__(self, "groups", self._grouped())
        said = [self.id, self.question, *self.choices, *self.options, *self.references]
        said += [p for m in self._said() for p in m.content if isinstance(p, str)]
        said += [self.category, *(text for pair in self.groups for text in pair)]
        readable(said if self.answer is None else [*said, self.answer], self.named())
        if self.unit and not (self.unit.isidentifier() and dict(self.groups).get(self.unit)):
            there = ", ".join(dict(self.groups)) or "none"
            raise InputError(
                f"{self.named()}: unit is {self.unit!r:.60}, which is none of its groups ({there})"
            )

    def __hash__(self) -> int:  # pictures in memory have no hash; equal samples have equal words
        asked = self.id, self.question, self.answer, self.choices, self.category
        return hash((*asked, self.messages))

    @property
    def key(self) -> str:
        """What identifies the sample: a hash of everything in it."""
        asked = (self.id, self.question, self.answer, self.choices)
        conversing = (self.messages,) if self.messages else ()
        text = repr((*asked, self.options, self.references, *conversing))
        seen = [*map(trace, self.images), *(video.trace() for video in self.videos)]
        return hashlib.sha256((text + "".join(seen)).encode()).hexdigest()

    def pictures(self) -> list[Image.Image]:
        """The images, opened, upright, in RGB.

        Raises:
            ImageError: a file is missing, empty or no image; the message names it and the sample.

        Examples:
            >>> [(picture.mode, picture.size) for picture in sample.pictures()]
            [('RGB', (224, 224))]
        """
        with about(self):
            return [open_picture(image) for image in self.images]

    def named(self, place: str = "") -> str:
        """What messages call it: its id, or else its place, and where it was read.

        Examples:
            >>> sample.named(), vl.Sample("What is left?").named()
            ("sample '2ds-test-0-color_abs-00000'", "the sample 'What is left?'")
        """
        name = f"sample {self.id!r}" if self.id else place or f"the sample {self.question!r:.60}"
        return f"{name} ({self.source})" if self.source else name

    def _grouped(self) -> tuple[tuple[str, str], ...]:
        try:
            return tuple((kind, name) for kind, name in self.groups)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{self.named()}: groups is {shown(self.groups)}; pass pairs such as "
                '(("pair", "7"),)'
            ) from error

    def conversation(self, placeholders: Sequence[str] = (PLACEHOLDER,)) -> tuple[Message, ...]:
        """What is said: its messages, or its question as one of the user's.

        Raises:
            InputError: placeholders and images differ in number, or nothing is asked.

        Examples:
            >>> vl.Sample("What is left?").conversation()
            (Message(role='user', content=('What is left?',)),)
        """
        return self._said() or (
            Message(
                "user",
                parts_of(self.question, len(self.images), placeholders, videos=len(self.videos)),
            ),
        )

    def _said(self) -> tuple[Message, ...]:
        return self.messages  # pyright: ignore[reportReturnType]  # as ``as_messages`` made them

    def after(self, shots: Iterable["Sample"]) -> "Sample":
        """The same question, asked after others and their answers, all in one conversation.

        Few-shot prompting: every shot is a turn of its own, with its pictures, and its ``answer``
        is what the assistant says.

        Args:
            shots: samples with answers, the first one first; none leaves the sample as it is.

        Raises:
            InputError: a shot without an answer, or a system prompt that would not come first.

        Examples:
            >>> shot = vl.Sample("What color is a crow?", answer="black")
            >>> asked = vl.Sample("What color is snow?").after([shot])
            >>> [(message.role, message.text) for message in asked.messages][1:]
            [('assistant', 'black'), ('user', 'What color is snow?')]
        """
        said: list[Message] = []
        pictures: list[Picture] = []
        videos: list[Video] = []
        shots = list(shots)
        for shot in shots:
            if not isinstance(shot, Sample) or shot.answer is None:
                raise InputError(f"{shown(shot)} has no answer to show: give samples with answers")
            said += [*shot.conversation(), Message("assistant", (shot.answer,))]
            pictures += shot.images
            videos += shot.videos
        if not shots:
            return self
        own = list(self.conversation())
        first = [own.pop(0)] if own[0].role == "system" else []
        if any(message.role == "system" for message in [*said[1:], *own]) or (
            first and said[0].role == "system"
        ):
            raise InputError(f"{self.named()}: a system prompt comes first, and there is one")
        return replace(
            self,
            question="",
            images=(*pictures, *self.images),
            videos=(*videos, *self.videos),
            messages=(*first, *said, *own),
        )

    def without_images(self) -> "Sample":
        """The same words, and no picture or video.

        Raises:
            InputError: a message that is a picture alone.

        Examples:
            >>> sample.without_images().images
            ()
        """
        words = tuple(message.without_images() for message in self._said())
        return replace(self, images=(), videos=(), messages=words)

    def _conversing(self, images: Sequence[Picture], videos: Any) -> tuple[Any, Any]:
        """Its messages and its question put in their final form; its pictures and videos."""
        try:
            messages, *within = as_messages(self.messages)
            videos = as_videos(videos)
        except InputError as error:
            raise type(error)(f"{self.named()}: {error}") from error
        kept = []
        for kind, called, inside, beside in (
            ("image", "pictures", within[0], images),
            ("video", "videos", within[1], videos),
        ):
            wanted = sum(getattr(message, f"{kind}s") for message in messages)
            if inside and beside:
                raise InputError(
                    f"{self.named()}: {called} stand in messages and in {kind}s=; give them once"
                )
            if (found := len(inside or beside)) != wanted:
                raise InputError(
                    f"{self.named()}: {wanted} {kind}(s) stand in messages, and {found} were given"
                )
            kept.append(inside or beside)
        asked = [message.text for message in messages if message.role == "user"][-1]
        if self.question not in ("", asked):
            raise InputError(
                f"{self.named()}: question is {self.question!r:.60}, and the messages' last is "
                f"{asked!r:.60}: leave question out, and change messages"
            )
        object.__setattr__(self, "messages", messages)
        object.__setattr__(self, "question", asked)
        return kept[0], kept[1]


def with_answers_known(samples: Iterable[Sample]) -> list[Sample]:
    """The same samples, with None for an answer that holds no character: nobody knows it."""
    return [s if s.answer is None or s.answer.strip() else replace(s, answer=None) for s in samples]


@contextmanager
def about(sample: Sample, place: str = "") -> Iterator[None]:
    """Names the sample, and its pictures, in what is refused about it inside.

    Args:
        sample: the sample.
        place: what to call it if it has no id.
    """
    try:
        yield
    except ImageError as error:
        raise ImageError(f"{sample.named(place)}: {error}") from error
    except InputError as error:
        files = ", ".join([*map(name_of, sample.images), *(v.named() for v in sample.videos)])
        seen = f" with the {'image' if sample.images else 'video'} {files}" if files else ""
        raise InputError(f"{sample.named(place)}{seen}: {error}") from error
