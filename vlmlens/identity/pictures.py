"""What identifies a picture or a video: the pixels that the model is shown."""

import time
from pathlib import Path

from PIL import Image

from vlmlens.draws import AND, declared
from vlmlens.identity.digests import digest
from vlmlens.picture import state_of
from vlmlens.sample import Picture, Sample, about, open_picture
from vlmlens.video import Video

#: Nanoseconds within which two changes of a file may have one time.
JUST_NOW = 10**8
#: Every file that was looked at: its inode, size and times then, and the hash of its pixels.
KNOWN: dict[str, tuple[tuple[int, ...], str]] = {}


def picture(given: Picture) -> str:
    """A hash of the pixels, and their layout, that a model is shown of a picture.

    A file is read once, and again when its size, its times or its place on the disk have changed;
    a picture in memory is hashed, and a drawn one drawn, at every call.

    Raises:
        ImageError: a file is missing, empty or no image; the message names it.

    Examples:
        >>> from PIL import Image
        >>> from vlmlens import identity
        >>> red = Image.new("RGB", (4, 4), "red")
        >>> red.save("red.png")
        >>> identity.picture(red) == identity.picture("red.png")
        True
    """
    if isinstance(given, str | Path):
        try:
            state = state_of(given)
        except (OSError, ValueError):
            open_picture(given)  # says what is wrong
            raise
        # Clocks of files are coarse: what was written just now may be once more, unseen.
        if abs(time.time_ns() - max(state[-2:])) < JUST_NOW:
            return _pixels(open_picture(given))
        return _file(str(Path(given)), state[1:])  # the same disk has another number elsewhere
    return _pixels(open_picture(given))


def film(given: Video) -> str:
    """A hash of a video's frames, and of how many a second holds; or of its file.

    Raises:
        ImageError: a frame or a file that cannot be read.
    """
    return digest(given.trace().encode())


def scene(sample: Sample) -> str:
    """What identifies the pictures and videos that a sample shows; "" where it shows none.

    Questions about the same ones, in the same order, share it, whatever they ask and wherever the
    pictures come from: they are one draw of the data, not several.

    Raises:
        ImageError: a file is missing, empty or no image; the message names it and the sample.

    Examples:
        >>> from dataclasses import replace
        >>> from vlmlens import identity
        >>> other = replace(sample, question="What is left?", id="7")
        >>> identity.scene(sample) == identity.scene(other)
        True
    """
    with about(sample):
        shown = [*map(picture, sample.images), *(film(one) for one in sample.videos)]
        return digest(*(one.encode() for one in shown)) if shown else ""


def unit(sample: Sample) -> str:
    """What a sample is one draw of: what it shows, and the pair or set that it says it is of.

    It is a hash of each, in no order, so that it can be told who shares one of them; a question
    with none stands by itself. Results carry it as the coordinate ``picture``, by which intervals,
    tests and folds draw.

    Raises:
        ImageError: a file is missing, empty or no image; the message names it.

    Examples:
        >>> from vlmlens import identity
        >>> identity.unit(vl.Sample("Are you there?", id="7"))
        'none: 7'
    """
    with about(sample):
        seen = [*map(picture, sample.images), *(film(one) for one in sample.videos)]
        shown = sorted({digest(one.encode()) for one in seen})
    if sample.unit:
        shown.append(declared(sample.unit, digest(dict(sample.groups)[sample.unit].encode())))
    return AND.join(shown) or f"none: {sample.id or sample.question}"


def _file(path: str, state: tuple[int, ...]) -> str:
    known = KNOWN.get(path)
    if known is None or known[0] != state:
        known = KNOWN[path] = (state, _pixels(open_picture(path)))
    return known[1]


def _pixels(image: Image.Image) -> str:
    return digest(f"{image.mode} {image.size}".encode(), image.tobytes())
