"""Sample: images, a question, its choices, the answer."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import ClassVar

from PIL import Image

from vlmlens.annotations import Checked
from vlmlens.checks import name, shown, written
from vlmlens.errors import ImageError, InputError
from vlmlens.picture import Picture, fixed, name_of, open_picture, printable

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
    """

    ADVICE: ClassVar = {"image": "write images=", "prompt": "write question="}

    question: str
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

    def __post_init__(self):
        for part in ("id", "source", "unit"):  # which messages name the sample by
            name(getattr(self, part), part)
        object.__setattr__(self, "source", printable(self.source))
        object.__setattr__(self, "images", self._fixed())
        for part in ("choices", "options", "references"):
            given = getattr(self, part)
            if not isinstance(given, list | tuple):
                raise InputError(f"{self.named()}: {part} is {shown(given)}; pass a tuple of texts")
            object.__setattr__(self, part, tuple(given))
        object.__setattr__(self, "groups", self._grouped())
        said = [self.id, self.question, *self.choices, *self.options, *self.references]
        said += [self.category, *(text for pair in self.groups for text in pair)]
        said += [] if self.answer is None else [self.answer]
        if wrong := [text for text in said if not isinstance(text, str)]:
            raise InputError(f"{self.named()}: {shown(wrong[0])} is no text; write it as one")
        if any("\0" in text for text in said):
            raise InputError(f"{self.named()}: a text holds the character NUL; take it out")
        if half := next((text for text in said if not written(text)), None):
            raise InputError(
                f"{self.named()}: {half!r:.60} holds half of a character (a lone surrogate), which "
                "no tokenizer reads; take it out"
            )

        if self.unit and not (self.unit.isidentifier() and dict(self.groups).get(self.unit)):
            there = ", ".join(dict(self.groups)) or "none"
            raise InputError(
                f"{self.named()}: unit is {self.unit!r:.60}, which is none of its groups ({there})"
            )

    def __hash__(self) -> int:  # pictures in memory have no hash; equal samples have equal words
        return hash((self.id, self.question, self.answer, self.choices, self.category))

    @property
    def key(self) -> str:
        """What identifies the sample: a hash of everything in it."""
        asked = (self.id, self.question, self.answer, self.choices)
        text = repr((*asked, self.options, self.references))
        return hashlib.sha256((text + "".join(map(_trace, self.images))).encode()).hexdigest()

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

    def _fixed(self) -> tuple[Picture, ...]:
        given = self.images if isinstance(self.images, list | tuple) else (self.images,)
        try:
            return tuple(map(fixed, given))
        except ImageError as error:
            raise ImageError(f"{self.named()}: {error}") from error


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
        files = ", ".join(map(name_of, sample.images))
        seen = f" with the image {files}" if files else ""
        raise InputError(f"{sample.named(place)}{seen}: {error}") from error


def _trace(picture: Picture) -> str:
    """Text that changes with what is seen of a picture, and with nothing else.

    Draws are seeded by it where a sample has no id, so that they are the same wherever it lies.
    """
    seen = open_picture(picture)
    return f"{seen.size} {hashlib.sha256(seen.tobytes()).hexdigest()}"
