"""What identifies a picture: the pixels that the model is shown."""

from functools import lru_cache
from pathlib import Path

from PIL import Image

from vlmlens.identity.digests import digest
from vlmlens.sample import Picture, Sample, about, open_picture


def picture(given: Picture) -> str:
    """A hash of the pixels, and their layout, that a model is shown of a picture.

    A file is read once, and again when its size, its times or its place on the disk have changed;
    a picture in memory is hashed, and a drawn one drawn, at every call.

    Raises:
        ImageError: a file is missing, empty or no image; the message names it.
    """
    if isinstance(given, str | Path):
        try:
            state = Path(given).stat()
        except (OSError, ValueError):
            open_picture(given)  # says what is wrong
            raise
        # Nobody can put back a file's time of change (ctime), as rsync and cp do its mtime.
        return _file(
            str(given),
            (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns),
        )
    return _pixels(open_picture(given))


def scene(sample: Sample) -> str:
    """What identifies the pictures that a sample shows, in their order; "" where it shows none.

    Questions about the same pictures share it, whatever they ask and wherever the pictures
    come from: they are one draw of the data, not several.

    Raises:
        ImageError: a file is missing, empty or no image; the message names it and the sample.
    """
    with about(sample):
        return digest(*(picture(one).encode() for one in sample.images)) if sample.images else ""


def unit(sample: Sample) -> str:
    """What a sample is one draw of: its pictures; a question without any stands by itself.

    Results carry it as the coordinate ``picture``, and intervals, tests and folds draw by it.

    Raises:
        ImageError: a file is missing, empty or no image; the message names it.
    """
    return scene(sample) or f"none: {sample.id or sample.question}"


@lru_cache(maxsize=2**17)
def _file(path: str, state: tuple[int, ...]) -> str:
    return _pixels(open_picture(path))


def _pixels(image: Image.Image) -> str:
    return digest(f"{image.mode} {image.size}".encode(), image.tobytes())
