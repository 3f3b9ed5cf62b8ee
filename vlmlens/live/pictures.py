"""Pictures that come from the page: uploads of limited size, and scenes that are drawn."""

import base64
from collections import OrderedDict
from collections.abc import Sequence
from io import BytesIO
from secrets import token_urlsafe
from threading import Lock
from typing import Any

from PIL import Image

from vlmlens.checks import number, one_of, shown
from vlmlens.datasets.shapes import COLORS, SHAPES, Drawn, Scene, Shape
from vlmlens.errors import ImageError, InputError
from vlmlens.picture import Encoded, Picture, open_picture

#: Bytes and pixels of an upload at most, and bytes of all uploads that are kept.
MOST_BYTES, MOST_PIXELS, MOST_KEPT = 16 * 2**20, 24_000_000, 96 * 2**20
#: What uploads may be: formats that browsers show.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
#: Shapes of a scene at most.
MOST_SHAPES = 24
#: Pixels of the longer side of what the page is shown.
SHOWN = 768


class Uploads:
    """Pictures that were uploaded, by a name that nobody can guess; the oldest go first."""

    def __init__(self):
        self._kept: OrderedDict[str, Encoded] = OrderedDict()
        self._lock = Lock()

    def add(self, data: bytes) -> str:
        """Keep a picture.

        Returns:
            Its name.

        Raises:
            ImageError: too many bytes or pixels, or no picture.
        """
        picture = checked_picture(data)
        name = token_urlsafe(12)
        with self._lock:
            self._kept[name] = picture
            while sum(len(each.data) for each in self._kept.values()) > MOST_KEPT:
                self._kept.popitem(last=False)
        return name

    def get(self, name: Any) -> Encoded:
        """A picture by its name.

        Raises:
            InputError: none is called so, or it was taken away for newer ones.
        """
        with self._lock:
            found = self._kept.get(name) if isinstance(name, str) else None
        if found is None:
            raise InputError(f"upload={shown(name)}: no picture of that name; upload it again")
        return found


def checked_picture(data: bytes) -> Encoded:
    """Bytes that are a picture, of limited size, which can be opened to its end.

    Raises:
        ImageError: they are not.
    """
    if len(data) > MOST_BYTES:
        raise ImageError(f"the picture has more than {MOST_BYTES // 2**20} MiB: make it smaller")
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"the picture has far more than {MOST_PIXELS / 1e6:g} million pixels: make it smaller"
        ) from error
    except Exception as error:  # Pillow's readers raise whatever they stumble over
        raise ImageError(f"this is no picture of {', '.join(FORMATS)}") from error
    if width * height > MOST_PIXELS:
        raise ImageError(
            f"the picture has {width} x {height} pixels, more than {MOST_PIXELS / 1e6:g} million: "
            "make it smaller"
        )
    picture = Encoded(data, "uploaded")
    open_picture(picture)
    return picture


def asked_picture(message: dict[str, Any], uploads: Uploads) -> Picture:
    """The picture of a message: ``upload`` or ``scene``.

    Raises:
        InputError: neither, both, or what is none.
    """
    given = [name for name in ("upload", "scene") if message.get(name) is not None]
    if len(given) != 1:
        raise InputError("a picture is an upload or a scene: give one of the two")
    return uploads.get(message["upload"]) if given == ["upload"] else drawn(message["scene"])


def drawn(shapes: Any) -> Drawn:
    """A scene's picture, from what the page sent.

    Raises:
        InputError: no shapes, too many, or values out of bounds.
    """
    if not isinstance(shapes, list) or not 0 < len(shapes) <= MOST_SHAPES:
        raise InputError(f"scene: a list of 1 to {MOST_SHAPES} shapes is wanted")
    return Drawn(Scene(tuple(map(_shape, shapes))))


def _shape(given: Any) -> Shape:
    wanted = {"shape", "color", "x", "y", "radius"}
    if not isinstance(given, dict) or set(given) != wanted:
        raise InputError(f"a shape of a scene has {', '.join(sorted(wanted))}")
    return Shape(
        one_of(given["shape"], "shape", SHAPES),
        one_of(given["color"], "color", tuple(COLORS)),
        float(number(given["x"], "x", least=0, most=1)),
        float(number(given["y"], "y", least=0, most=1)),
        float(number(given["radius"], "radius", above=0, most=0.5)),
    )


def mirrored(pictures: Sequence[Picture]) -> tuple[Picture, ...]:
    """Pictures with left and right exchanged; a drawn scene stays one."""
    return tuple(
        Drawn(each.scene.mirror(), each.size)
        if isinstance(each, Drawn)
        else open_picture(each).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        for each in pictures
    )


def elsewhere(pictures: Sequence[Picture], seed: int) -> Drawn:
    """The shapes of a drawn scene at other places, so that each is at one side of each other.

    Raises:
        InputError: no drawn scene, or one with no room for such a place.
    """
    if len(pictures) != 1 or not isinstance(pictures[0], Drawn):
        raise InputError("only the shapes of a drawn scene can be put elsewhere; this is a picture")
    return Drawn(pictures[0].scene.elsewhere(seed), pictures[0].size)


def as_scene(pictures: Sequence[Picture]) -> list[dict[str, Any]] | None:
    """The shapes of a drawn scene; None for any other picture."""
    if len(pictures) != 1 or not isinstance(pictures[0], Drawn):
        return None
    return [dict(vars(shape)) for shape in pictures[0].scene.shapes]


def as_data_address(picture: Image.Image) -> str:
    """A picture as an address that holds it, made smaller where it is large."""
    seen, buffer = picture.copy(), BytesIO()
    seen.thumbnail((SHOWN, SHOWN))
    seen.save(buffer, format="png")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
