"""Samples' pictures as pages show them: small, with the part that the model was shown."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from vlmlens.annotations import checked
from vlmlens.errors import VLMLensError
from vlmlens.experiments.naming import named
from vlmlens.layout import TokenLayout
from vlmlens.sample import Sample

#: The longer side of a thumbnail, in pixels; samples whose pictures a diagnosis shows.
SIDE, MOST = 168, 60
#: A picture of which more is shown than this counts as shown whole.
WHOLE = 0.99


@dataclass(frozen=True)
class Thumbnail:
    """A picture made small.

    Attributes:
        url: a data URL that holds it.
        name: of its file; empty where it has none.
        part: what the model was shown of it: left, top, width and height in percent of the
            picture. None where that is all of it, or nobody knows.

    Examples:
        >>> vl.report.Thumbnail("data:image/png;base64,...", "a.png", (25.0, 0.0, 50.0, 100.0)).part
        (25.0, 0.0, 50.0, 100.0)
    """

    url: str
    name: str = ""
    part: tuple[float, float, float, float] | None = None


@checked
def pictures(
    samples: Sequence[Sample], layout: Callable[[Sample], TokenLayout], most: int = MOST
) -> dict[str, tuple[Thumbnail, ...]]:
    """The pictures of the first samples, small, with what a model is shown of each.

    Args:
        samples: those of the results.
        layout: gives a sample's positions, as the model's processor cuts its pictures.
        most: how many samples to begin with.

    Returns:
        Thumbnails by the name that results call the sample by. A sample that cannot be opened or
        asked is left out: results list it with its reason.

    Examples:
        >>> found = vl.report.pictures(samples, lambda sample: model.inputs(sample).layouts[0])
        >>> len(found), found[samples[0].id][0].part  # a square picture is shown whole
        (4, None)
    """
    found = {}
    for name, sample in list(zip(named(samples), samples, strict=True))[:most]:
        try:
            small, own = thumbnails(sample), layout(sample)
        except VLMLensError:  # it failed in the experiment as well, which says why
            continue
        files = [_file(image) for image in sample.images]
        found[name] = tuple(
            Thumbnail(url, file, _part(own, number))
            for number, (url, file) in enumerate(zip(small, files, strict=True))
        )
    return found


def thumbnails(sample: Sample) -> list[str]:
    """A sample's pictures, small, as data URLs.

    Raises:
        ImageError: a picture that cannot be opened.
    """
    return [_url(image) for image in sample.pictures()]


def _url(image: Image.Image) -> str:
    """A photograph as JPEG, which is a fifth of the size; what has few colors as PNG."""
    small = image.convert("RGB")
    small.thumbnail((SIDE, SIDE))
    drawn = small.getcolors(maxcolors=SIDE * SIDE // 8) is not None
    data = BytesIO()
    small.save(data, "PNG" if drawn else "JPEG", quality=82)
    kind = "png" if drawn else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data.getvalue()).decode()}"


def _file(image: object) -> str:
    return Path(image).name if isinstance(image, str | Path) else ""


def _part(layout: TokenLayout, image: int) -> tuple[float, float, float, float] | None:
    """What is shown, in percent; None where it is all there is."""
    size = layout.sizes[image]
    assert size is not None  # it was made of pictures
    left, top, right, bottom = (100 * at / size[n % 2] for n, at in enumerate(layout.shown(image)))
    part = left, top, right - left, bottom - top
    return None if part[2] * part[3] > 1e4 * WHOLE else part
