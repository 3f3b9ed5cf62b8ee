"""Sample: images, a question, its choices, the answer."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from vlmlens.errors import ImageError

#: An image in memory, a file, or a function that draws one when it is asked for.
Picture = Image.Image | str | Path | Callable[[], Image.Image]


@dataclass(frozen=True)
class Sample:
    """One question about zero or more images.

    Attributes:
        question: what the user asks, without any chat template.
        images: pictures in the order of their placeholders; files and functions are read lazily.
        answer: the right answer, or None where nobody knows it.
        choices: the answers it is chosen from, or () for a free answer.
        category: the group that accuracies are reported by.
        id: names the sample in results; unique in its data set.
    """

    question: str
    images: tuple[Picture, ...] = ()
    answer: str | None = None
    choices: tuple[str, ...] = ()
    category: str = ""
    id: str = ""

    @property
    def key(self) -> str:
        """What identifies the sample: a hash of everything in it."""
        text = repr((self.id, self.question, self.answer, self.choices))
        return hashlib.sha256((text + "".join(map(_trace, self.images))).encode()).hexdigest()

    def pictures(self) -> list[Image.Image]:
        """The images, opened, in RGB.

        Raises:
            ImageError: a file is missing, empty or no image; the message names it.
        """
        return [open_picture(image) for image in self.images]


def _trace(picture: Picture) -> str:
    """Text that changes with the picture: its pixels, its file's state, or how it is drawn."""
    if isinstance(picture, Image.Image):
        seen = open_picture(picture)
        return f"{seen.size} {hashlib.sha256(seen.tobytes()).hexdigest()}"
    if isinstance(picture, str | Path):
        if not Path(picture).is_file():
            open_picture(picture)  # says what is wrong
        state = Path(picture).stat()
        return f"{picture} {state.st_size} {state.st_mtime_ns}"
    # A bare function's text holds its address, another one in every process.
    return _trace(picture()) if " at 0x" in repr(picture) else repr(picture)


def open_picture(picture: Picture) -> Image.Image:
    """A picture in memory and in RGB, wherever it comes from."""
    if isinstance(picture, Image.Image):
        return picture.convert("RGB")
    if isinstance(picture, str | Path):
        try:
            with Image.open(picture) as image:
                return image.convert("RGB")
        except Exception as error:  # Pillow's readers raise whatever they stumble over
            path = Path(picture)
            state = (
                "there is no such file"
                if not path.is_file()
                else "the file is empty"
                if path.stat().st_size == 0
                else f"it is no readable image ({error})"
            )
            raise ImageError(f"cannot read the image {path}: {state}") from error
    return picture().convert("RGB")
