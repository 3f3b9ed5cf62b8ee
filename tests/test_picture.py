"""A picture is what people see, whatever it is given as."""

import base64
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from children import python
from PIL import Image
from transformers.image_utils import load_image

from vlmlens.errors import ImageError, InputError
from vlmlens.picture import Encoded, open_picture, printable
from vlmlens.sample import Sample

COLOURS = np.random.default_rng(0).integers(0, 256, (6, 10, 3), dtype=np.uint8)
BLOCKS = COLOURS.repeat(8, 0).repeat(8, 1)  # lossy files keep these
ROTATIONS = tuple(range(1, 9))


def stored(tmp_path, ending, orientation):
    path = tmp_path / f"p.{ending}"
    exif = Image.Exif()
    exif[0x112] = orientation
    Image.fromarray(BLOCKS).save(path, exif=exif)
    return path


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tiff", "avif", "mpo"])
@pytest.mark.parametrize("orientation", ROTATIONS)
def test_every_orientation_stands_upright(tmp_path, ending, orientation):
    path = stored(tmp_path, ending, orientation)
    upright = load_image(str(path))
    assert (upright.size == (80, 48)) == (orientation < 5)
    with Image.open(path) as lazy, Image.open(path) as other, path.open("rb") as file:
        converted = other.convert("RGB")
        for given in (path, str(path), path.read_bytes(), file, lazy, converted):
            assert open_picture(given) == upright
    assert open_picture(upright) == upright  # and is turned once only


def ramp():
    return np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)


def pgm(path, grey):
    path.write_bytes(b"P5 64 64 65535\n" + grey.astype(">u2").tobytes())


DEEP = {
    "16-bit png": ("a.png", lambda path, g: Image.fromarray(g).save(path)),
    "16-bit tiff": ("a.tif", lambda path, g: Image.fromarray(g).save(path)),
    "big-endian tiff": ("a.tif", lambda path, g: Image.fromarray(g.astype(">u2")).save(path)),
    "32-bit tiff": ("a.tif", lambda path, g: Image.fromarray(g.astype(np.int32)).save(path)),
    "16-bit pgm": ("a.pgm", pgm),
    "float tiff": ("a.tif", lambda path, g: Image.fromarray(np.float32(g / 65535)).save(path)),
}


@pytest.mark.parametrize("kind", list(DEEP))
def test_deep_grey_keeps_its_range(tmp_path, kind):
    name, write = DEEP[kind]
    write(tmp_path / name, ramp())
    seen = np.asarray(open_picture(tmp_path / name))
    assert seen.shape == (64, 64, 3)
    assert len(np.unique(seen)) == 256
    assert (seen == 255).mean() < 0.01
    assert seen.mean() == pytest.approx(127.5, abs=0.1)
    if kind != "float tiff":
        np.testing.assert_array_equal(seen[..., 0], ramp() >> 8)


@pytest.mark.parametrize(
    "image",
    [
        Image.new("I", (4, 4), 200),
        Image.new("I", (4, 4), 70000),
        Image.new("I", (4, 4), -1),
        Image.new("F", (4, 4), 200.0),
        Image.new("F", (4, 4), float("nan")),
        Image.new("RGB", (0, 4)),
    ],
)
def test_numbers_whose_range_nobody_knows_are_refused_by_name(tmp_path, image):
    with pytest.raises(ImageError, match="in memory"):
        open_picture(image)
    if image.width:
        image.save(tmp_path / "deep.tif")
        with pytest.raises(ImageError, match=r"sample 'seven'.*deep\.tif.*from "):
            Sample("What?", tmp_path / "deep.tif", id="seven").pictures()


def test_a_16_bit_picture_is_white_where_it_is_transparent(tmp_path):
    grey = np.array([[0, 3000], [3000, 65535]], dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / "a.png", transparency=3000)
    with Image.open(tmp_path / "a.png") as image:
        assert image.info["transparency"] == 3000
    assert np.asarray(open_picture(tmp_path / "a.png"))[..., 0].tolist() == [[0, 255], [255, 255]]


def test_inverted_cmyk_and_one_bit_look_as_they_should(tmp_path):
    path = tmp_path / "a.jpg"
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(path)  # Pillow writes it as Adobe does
    assert b"Adobe" in path.read_bytes()
    red = np.asarray(open_picture(path)).reshape(-1, 3).mean(0)
    np.testing.assert_allclose(red, [255, 0, 0], atol=3)
    Image.fromarray(np.eye(8) > 0).save(tmp_path / "b.png")
    np.testing.assert_array_equal(
        np.asarray(open_picture(tmp_path / "b.png"))[..., 0], np.eye(8) * 255
    )


@pytest.mark.parametrize("ending", ["gif", "tif", "webp", "png"])
def test_of_several_pictures_in_a_file_the_first_is_seen(tmp_path, ending):
    first, second = (Image.new("RGB", (8, 8), name) for name in ("red", "blue"))
    path = tmp_path / f"a.{ending}"
    first.save(path, save_all=True, append_images=[second], lossless=True)
    assert open_picture(path).getpixel((3, 3)) == (255, 0, 0)


def png(image):
    data = BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def ways(folder):
    """One picture in every way that it may be given."""
    image = Image.fromarray(COLOURS)
    path = folder / "a.png"
    image.save(path)
    data = png(image)
    tensor = torch.tensor(COLOURS).permute(2, 0, 1)
    return {
        "path": path,
        "path as text": str(path),
        "path from home": f"~/{path.name}",
        "path from home, as a path": Path("~", path.name),
        "image": image,
        "bytes": data,
        "bytearray": bytearray(data),
        "memoryview": memoryview(data),
        "BytesIO": BytesIO(data),
        "array": COLOURS,
        "array of another library": xr.DataArray(COLOURS),
        "array of floats": COLOURS / 255,
        "array of 16 bits": COLOURS.astype(np.uint16) * 257,
        "array of the other byte order": COLOURS.astype(">u2") * 257,
        "array with alpha": np.dstack([COLOURS, np.full((6, 10), 255, np.uint8)]),
        "array, channels first": COLOURS.transpose(2, 0, 1),
        "tensor": tensor,
        "tensor of floats": tensor / 255,
        "tensor, channels last": torch.tensor(COLOURS),
        "tensor of bfloat16": (tensor / 255).bfloat16(),
        "function": lambda: image,
        "function giving an array": lambda: COLOURS,
        "struct of bytes": {"bytes": data, "path": "elsewhere.png"},
        "struct of an array of bytes": {"bytes": np.frombuffer(data, np.uint8), "path": None},
        "struct of a path": {"bytes": None, "path": str(path)},
        "struct of a path from home": {"path": f"~/{path.name}"},
        "base64": "data:image/png;base64," + base64.b64encode(data).decode(),
    }


def test_every_way_of_giving_a_picture_gives_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for way, given in ways(tmp_path).items():
        expected, off = COLOURS.astype(int), 1 if "bfloat16" in way else 0
        for images in (given, (given,), [given]):
            sample = Sample("What?", images)
            for _ in range(2):  # it can be opened again
                (seen,) = sample.pictures()
                assert seen.mode == "RGB", way
                assert np.abs(np.asarray(seen) - expected).max() <= off, way


def test_grey_arrays_are_grey():
    grey = np.arange(60, dtype=np.uint8).reshape(6, 10)
    for given in (grey, grey[..., None], grey[None], torch.tensor(grey)[None], torch.tensor(grey)):
        np.testing.assert_array_equal(np.asarray(open_picture(given))[..., 1], grey)
    assert open_picture(np.eye(3) > 0).getpixel((1, 1)) == (255, 255, 255)


def test_where_both_orders_would_fit_arrays_end_with_channels_and_tensors_begin_with_them():
    """Four rows of five pixels in three colours; and three channels of five rows of four."""
    assert open_picture(np.zeros((4, 5, 3), np.uint8)).size == (5, 4)
    assert open_picture(torch.zeros(3, 5, 4, dtype=torch.uint8)).size == (4, 5)


def closed():
    file = BytesIO(b"no more")
    file.close()
    return file


@pytest.mark.parametrize(
    "nonsense",
    [
        None,
        3,
        b"no image",
        b"",
        {"bytes": b"", "path": None},
        {"size": 3},
        [
            ["a.png"],
        ],
        np.zeros((2, 2, 2, 2), np.uint8),
        np.zeros((5, 5, 2), np.uint8),
        np.zeros((0, 5), np.uint8),
        np.zeros((8, 8), int),
        np.full((4, 4), 1.5),
        np.array("a"),
        torch.zeros(3, dtype=torch.uint8),
        torch.zeros(3, 8, 8, device="meta"),
        torch.zeros(3, 8, 8).to_sparse(),
        closed(),
        lambda: None,
        "nowhere.png",
        "~/nowhere.png",
        "~nobody-is-called-so/a.png",
        "https://example.org/a.png",
        "iVBORw0KGgo" * 500,
        "a\0b.png",
        ".",
        "data:image/png;base64,x",
        object(),
    ],
    ids=lambda nonsense: type(nonsense).__name__,
)
def test_what_is_no_picture_is_refused_with_the_samples_id(nonsense):
    with pytest.raises(ImageError, match="sample 'seven'"):
        Sample("What?", nonsense, id="seven").pictures()


def test_texts_that_are_none_are_refused_with_the_samples_id():
    with pytest.raises(InputError, match="sample 'seven': choices is 'yesno'"):
        Sample("What?", choices="yesno", id="seven")
    assert Sample("What?", choices=["yes", "no"]).choices == ("yes", "no")
    for wrong in ({"question": "a\0b"}, {"answer": "\0"}, {"category": "\0"}):
        with pytest.raises(InputError, match=r"sample 'seven': .*NUL"):  # no file would hold it
            Sample(**({"question": "What?", "id": "seven"} | wrong))
    for wrong in ("question=None", "answer=3", "choices=(1,)", "category=3"):
        # In a process of its own: here, annotations are checked before we come to it.
        given = f"dict(question='', id='7') | dict({wrong})"
        code = f"from vlmlens.sample import Sample; Sample(**({given}))"
        said = python(code, status=1).stderr
        assert "InputError: sample '7'" in said


def test_colours_that_are_stored_multiplied_are_seen_on_white():
    clear = np.dstack([COLOURS, np.arange(60, dtype=np.uint8).reshape(6, 10) * 4])
    for mode, stored in (("RGBA", "RGBa"), ("LA", "La")):
        image = Image.fromarray(clear).convert(mode).convert(stored)
        assert open_picture(image) == open_picture(image.convert(mode))


def test_a_link_to_nowhere_says_where_it_leads(tmp_path):
    (tmp_path / "a.png").symlink_to("gone.png")
    with pytest.raises(ImageError, match=r"a\.png: it is a link to gone\.png, which is not there"):
        open_picture(tmp_path / "a.png")
    with pytest.raises(ImageError, match="addresses are not read"):
        open_picture("https://example.org/a.png")


def test_a_text_file_handle_and_a_folder_say_what_to_do(tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    with (tmp_path / "a.txt").open() as file, pytest.raises(ImageError, match="mode 'rb'"):
        open_picture(file)
    with pytest.raises(ImageError, match="it is a folder"):
        open_picture(tmp_path)


def test_a_picture_too_large_to_be_one_is_named(tmp_path, monkeypatch):
    Image.new("L", (100, 100)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ImageError, match=r"bomb\.png: .*exceeds limit"):
        open_picture(tmp_path / "bomb.png")


def test_bytes_are_known_by_what_they_hold():
    red, blue = (png(Image.new("RGB", (4, 4), name)) for name in ("red", "blue"))
    keys = {Sample("What?", Encoded(data, "the same name")).key for data in (red, blue)}
    assert len(keys) == 2
    assert Sample("What?", red).key == Sample("What?", bytearray(red)).key


def test_names_of_any_bytes_can_be_printed():
    assert printable("caf\udce9.png") == r"caf\xe9.png"
    assert printable(Path("é.png")) == "é.png"
