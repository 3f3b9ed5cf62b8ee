"""Pictures: whatever one is given as, in memory, upright, and in RGB as people see it."""

import base64
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Shaped
from PIL import Image, ImageOps, UnidentifiedImageError

from vlmlens.errors import ImageError

#: What ``fixed`` takes; it says more of what it does not take than a type would.
Picture: TypeAlias = Any

KINDS = (
    "an image of PIL, the path of a file, the bytes of one or an open one, an array or a tensor of "
    "pixels, {'bytes': ..., 'path': ...}, or a function that draws one"
)


@dataclass(frozen=True)
class Encoded:
    """A picture as the bytes of an image file, decoded when somebody asks for it.

    Attributes:
        data: the file's bytes.
        name: what messages call it.
    """

    data: bytes = field(repr=False)
    name: str

    def __call__(self) -> Image.Image:
        return _read(BytesIO(self.data), self.name)


def fixed(picture: Picture) -> Image.Image | str | Path | Callable[[], Any]:
    """The same picture as a value that does not change and can be opened again and again.

    Arrays are (height, width) or (height, width, channel), tensors of torch (channel, height,
    width), with 1, 3 or 4 channels; the other order is taken where only that one fits. They hold
    bytes, 16-bit integers, truth values, or floats from 0 to 1.

    Raises:
        ImageError: it is nothing that a picture can be given as.
    """
    if isinstance(picture, Image.Image | Encoded):
        return picture
    if isinstance(picture, Path):
        return at_home(picture)
    if isinstance(picture, str):
        if not picture.startswith("data:image/"):
            return str(at_home(picture)) if picture.startswith("~") else picture
        try:
            return Encoded(base64.b64decode(picture.partition(",")[2]), f"{picture[:24]}...")
        except ValueError as error:
            raise ImageError(f"{picture[:24]}... is not base64: {error}") from error
    if isinstance(picture, bytes | bytearray | memoryview):
        return Encoded(bytes(picture), f"given as {len(picture)} bytes")
    if isinstance(picture, Mapping) and {"bytes", "path"} & set(picture):
        data, path = picture.get("bytes"), picture.get("path")
        if data is not None and len(data):
            return Encoded(bytes(data), str(path or f"given as {len(data)} bytes"))
        if path:
            return fixed(path)
        raise ImageError("a picture's 'bytes' and 'path' are both empty")
    if hasattr(picture, "read"):
        name = str(getattr(picture, "name", "an open file"))
        try:
            if picture.seekable():
                picture.seek(0)
            return Encoded(_as_bytes(picture.read()), name)
        except (ValueError, OSError) as error:  # it was closed, say
            raise ImageError(f"cannot read {name}: {error}") from error
    if hasattr(picture, "detach"):  # torch's, which has no place down here
        if getattr(picture, "is_meta", False) or "strided" not in str(picture.layout):
            raise ImageError("a tensor on meta or a sparse one is no picture: pass dense pixels")
        tensor = picture.detach().cpu()
        tensor = tensor.float() if tensor.is_floating_point() else tensor
        return of_pixels(tensor.numpy(), channels_first=True)
    if isinstance(picture, np.ndarray) or hasattr(picture, "__array__"):
        return of_pixels(np.asarray(picture))
    if callable(picture):
        return picture
    raise ImageError(f"{picture!r:.80} is no picture; a picture is {KINDS}")


def open_picture(picture: Picture) -> Image.Image:
    """A picture in memory, upright and in RGB, wherever it comes from.

    It is what people see, and what transformers' processors make of it:

    * turned as its EXIF orientation says;
    * laid on white where it is transparent, as ``convert_to_rgb`` of transformers 5.23 does for
      every processor that converts at all, also for those that do not (transformers 5.20 showed
      the colour that happens to be stored below);
    * 16-bit grey as its upper 8 bits, floats from 0 to 1 as 0 to 255. 32-bit integers are read as
      16-bit ones, which is what Pillow makes of 16-bit files; other ranges are refused;
    * of an animation or a file of several pages the first picture (of an image in memory: the
      one that it stands at).

    Raises:
        ImageError: it is missing, empty, no image, or of numbers whose range nobody knows; the
            message names the file.
    """
    own = fixed(picture)
    name = name_of(own)
    if isinstance(own, str | Path):
        image = _read(own, name)
    elif isinstance(own, Image.Image):
        image = own
    elif isinstance(own, Encoded):
        image = own()
    else:
        image = _drawn(own, name)
        if not isinstance(image, Image.Image):
            try:
                return open_picture(image)
            except ImageError as error:
                raise ImageError(f"{name} draws no picture: {error}") from error
    try:
        image = _eight_bits(ImageOps.exif_transpose(image))
        if not image.width * image.height:
            raise ValueError("it has no pixels")
        return _on_white(image)
    except Exception as error:  # Pillow's readers raise whatever they stumble over
        raise ImageError(
            f"cannot read the image {name}: it is no readable image ({error})"
        ) from error


def _drawn(draw: Callable[[], Any], name: str) -> Any:
    """What a function draws.

    Raises:
        ImageError: it raises, whatever that is.
    """
    try:
        return draw()
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(f"{name} draws no picture: {type(error).__name__}: {error}") from error


def of_pixels(pixels: Shaped[np.ndarray, "..."], *, channels_first: bool = False) -> Image.Image:
    """An array of pixels as an image; see ``fixed``.

    Raises:
        ImageError: a shape or numbers that are no picture's.
    """
    array = pixels
    if array.ndim == 3:
        for axis in (0, 2) if channels_first else (2, 0):
            if array.shape[axis] in (1, 3, 4):
                array = np.moveaxis(array, axis, -1)
                break
        array = array[..., 0] if array.shape[-1] == 1 else array
    flat = array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (3, 4))
    if not flat or array.size == 0:
        raise ImageError(
            "an image is (height, width) or (height, width, channel) with 1, 3 or 4 channels; this "
            f"array is {pixels.shape}"
        )
    if array.dtype == bool:
        array = array * np.uint8(255)
    elif array.dtype.kind == "u" and array.itemsize == 2:  # of either byte order
        array = (array >> 8).astype(np.uint8)
    elif np.issubdtype(array.dtype, np.floating) and array.min() >= 0 and array.max() <= 1:
        array = np.round(array * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise ImageError(
            "an image holds bytes, 16-bit integers, or floats from 0 to 1; this array holds "
            f"{array.dtype} from {array.min()} to {array.max()}: divide by its range, or use "
            "astype(np.uint8)"
        )
    return Image.fromarray(np.ascontiguousarray(array))


def name_of(picture: Picture) -> str:
    """What messages call a picture: its file where it has one."""
    if isinstance(picture, Image.Image):
        size = f"{picture.width} x {picture.height}"
        return printable(getattr(picture, "filename", "")) or f"in memory ({size})"
    if isinstance(picture, str | Path):
        return printable(picture)
    own = getattr(picture, "name", None) or getattr(picture, "__name__", None)
    return printable(own) if isinstance(own, str) else f"{picture!r:.60}"


def at_home(path: str | Path) -> Path:
    """A path whose ``~`` is the user's home, as a shell would read it."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # "~somebody", whom nobody knows
        return Path(path)


def printable(path: str | Path) -> str:
    """A path as text that can be printed and stored, whatever bytes it is of on disk."""
    try:
        return os.fsencode(path).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half of a surrogate pair, which no file has in its name
        return str(path).encode("utf-8", "backslashreplace").decode()


def state_of(path: str | Path) -> tuple[int, ...]:
    """What changes with a file's contents: its place on the disk, its size, its times.

    Nobody can put back a file's time of change (ctime), as rsync and cp do its mtime.
    """
    told = Path(path).stat()
    return told.st_dev, told.st_ino, told.st_size, told.st_mtime_ns, told.st_ctime_ns


def know_heif() -> None:
    """Let Pillow open what an iPhone writes, where its plugin pillow-heif is installed."""
    if "HEIF" not in Image.OPEN and find_spec("pillow_heif"):
        import_module("pillow_heif").register_heif_opener()


def _as_bytes(data: Any) -> bytes:
    if not isinstance(data, bytes):
        raise ImageError("the file was opened as text; open it with mode 'rb'")
    return data


def _read(source: str | Path | BytesIO, name: str) -> Image.Image:
    """The first picture of an image file, as it is stored."""
    know_heif()
    try:
        with Image.open(source) as image:
            return ImageOps.exif_transpose(image)
    except Exception as error:  # Pillow's readers raise whatever they stumble over
        why = "of no kind that Pillow knows" if isinstance(error, UnidentifiedImageError) else error
        state = f"it is no readable image ({why})"
        if isinstance(source, BytesIO):
            state = state if source.getbuffer().nbytes else "it is empty"
        else:
            state = _missing(source) or state
        raise ImageError(f"cannot read the image {name:.200}: {state}") from error


def _missing(path: str | Path) -> str:
    """Why there is no file to read at a path; empty where there is one."""
    try:
        if Path(path).is_symlink() and not Path(path).exists():
            return f"it is a link to {printable(Path(path).readlink())}, which is not there"
        if Path(path).is_dir():
            return "it is a folder"
        if not Path(path).exists():
            address = str(path).partition("://")[0] in ("http", "https", "file", "s3", "gs")
            return "addresses are not read: give the path of a file" if address else _NO_FILE
        return "" if Path(path).stat().st_size else "the file is empty"
    except (OSError, ValueError):  # longer than a path may be, or with a character NUL
        return f"{_NO_FILE}, and no file can have this name"


_NO_FILE = "there is no such file"


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey pictures of more than 8 bits, of which Pillow would cut off all that is above 255."""
    if image.mode.startswith("I;16"):
        grey = of_pixels(np.asarray(image).astype(np.uint16))
        clear = image.info.get("transparency")
        if clear is not None:
            grey.putalpha(of_pixels(np.asarray(image) != clear))
        return grey
    if image.mode == "I":
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535 or 0 < values.max() < 256:
            raise ValueError(
                f"it holds 32-bit integers from {values.min()} to {values.max()}, and which of "
                "them is white nobody says: save it with 8 or 16 bits"
            )
        return of_pixels(values.astype(np.uint16))
    return of_pixels(np.asarray(image)) if image.mode == "F" else image


def _on_white(image: Image.Image) -> Image.Image:
    """In RGB, on white where it is transparent."""
    if image.mode in ("La", "RGBa"):  # colours that are multiplied by how opaque they are
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if "A" not in image.getbands() and image.info.get("transparency") is None:
        return image.convert("RGB")
    clear = image.convert("RGBA")
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, clear).convert("RGB")
