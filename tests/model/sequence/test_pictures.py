"""What every model's processor gets of a picture, and who is named when it will not have it."""

from importlib.metadata import version

import numpy as np
import pytest
import torch
from conftest import build, by_turns, picture
from packaging.version import Version
from PIL import Image

import vlmlens as vl
from vlmlens.errors import ImageError, InputError

SIZE = (64, 48)


def disc():
    """Red in the middle, and how opaque it is: clear outside, with a soft edge."""
    x, y = np.meshgrid(np.linspace(-1, 1, SIZE[0]), np.linspace(-1, 1, SIZE[1]))
    alpha = np.clip(2 - 2 * np.hypot(x, y), 0, 1)
    return np.full((*SIZE[::-1], 3), (200, 30, 60), np.uint8), (255 * alpha).astype(np.uint8)


def rgba():
    colours, alpha = disc()
    return Image.fromarray(np.dstack([colours, alpha]))


def palette(transparency):
    image = Image.fromarray((np.arange(SIZE[0] * SIZE[1]) % 7).reshape(SIZE[::-1]).astype(np.uint8))
    image = image.convert("P")
    image.putpalette([12 * n for n in range(21)])
    image.info["transparency"] = transparency
    return image


#: File names and what is saved there.
TRANSPARENT = {
    "rgba.png": rgba,
    "rgba.webp": rgba,
    "rgba.tif": rgba,
    "la.png": lambda: rgba().convert("LA"),
    "palette of bytes.png": lambda: palette(bytes([0, 128, 255])),
    "palette of one.gif": lambda: palette(3),
    "one colour.png": lambda: (picture(1, SIZE), {"transparency": (255, 0, 0)}),
    "one grey.png": lambda: (picture(1, SIZE).convert("L"), {"transparency": 40}),
}
OPAQUE = {
    "rgb.png": lambda: picture(2, SIZE),
    "grey.png": lambda: picture(2, SIZE).convert("L"),
    "bits.png": lambda: picture(2, SIZE).convert("1"),
    "palette.png": lambda: picture(2, SIZE).convert("P"),
    "cmyk.jpg": lambda: picture(2, SIZE).convert("CMYK"),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for name, make in (TRANSPARENT | OPAQUE).items():
        made = make()
        image, options = made if isinstance(made, tuple) else (made, {})
        image.save(folder / name, **options)
    return folder


def plain(vlm, image):
    """What transformers' own processor makes of an image that nobody converted."""
    names = ("image_placeholder_token", "image_token")
    place = next((getattr(vlm.processor, n) for n in names if hasattr(vlm.processor, n)), "<image>")
    text = place + "What?"
    made = vlm.processor(text=[text], images=[[image]], return_tensors="pt")
    return made[next((theirs for theirs in vlm.family.renamed), "pixel_values")]


def test_pixels_are_those_of_transformers_own_processor(every_vlm, files):
    """For every kind of file; where the processor does not convert, of the picture on white."""
    converts = getattr(every_vlm.processor.image_processor, "do_convert_rgb", False)
    if converts:  # the oldest transformers that we take drops what is transparent
        clear, white = Image.new("RGBA", SIZE, (0, 0, 0, 0)), Image.new("RGB", SIZE, "white")
        converts = torch.equal(plain(every_vlm, clear), plain(every_vlm, white))
        assert converts or Version(version("transformers")) < Version("5.23")
    for name in (*TRANSPARENT, *OPAQUE):
        mine = every_vlm.inputs([files / name], ["What?"]).tensors["pixel_values"]
        with Image.open(files / name) as image:
            if not converts:
                clear = image.convert("RGBA")
                white = Image.new("RGBA", image.size, "white")
                image = Image.alpha_composite(white, clear).convert("RGB")
            theirs = plain(every_vlm, image)
        assert torch.equal(mine, theirs), name


def test_what_is_transparent_is_white(vlm, files):
    white = vlm.inputs([Image.new("RGB", SIZE, "white")], ["What?"]).tensors["pixel_values"]
    clear = vlm.inputs([Image.new("RGBA", SIZE, (0, 0, 0, 0))], ["What?"]).tensors["pixel_values"]
    assert torch.equal(white, clear)


def test_an_upright_picture_and_its_boxes(every_vlm, tmp_path):
    """A file that is to be turned is laid out as the upright picture is."""
    image = picture(3, (96, 48))
    exif = Image.Exif()
    exif[0x112] = 6
    image.save(tmp_path / "a.png", exif=exif)
    upright = image.transpose(Image.Transpose.ROTATE_270)
    mine = every_vlm.inputs([tmp_path / "a.png"], ["What?"])
    theirs = every_vlm.inputs([upright], ["What?"])
    assert torch.equal(mine.tensors["pixel_values"], theirs.tensors["pixel_values"])
    np.testing.assert_array_equal(mine.layouts[0].box, theirs.layouts[0].box)
    reach = np.nanmax(mine.layouts[0].box, 0)[2:]
    assert (reach <= (48, 96)).all()


def test_one_sample_of_a_batch_is_named_when_it_cannot_be_read(vlm, tmp_path):
    (tmp_path / "cut.png").write_bytes(b"")
    good, bad = picture(0), tmp_path / "cut.png"
    with pytest.raises(ImageError, match=r"sample 1 of the 2 given: .*cut\.png"):
        vlm.inputs([good, bad], ["What?", "Where?"])
    with pytest.raises(ImageError, match=r"sample 'seven': .*cut\.png"):
        vlm.inputs([vl.Sample("What?", good), vl.Sample("What?", bad, id="seven")])


def test_one_sample_is_named_that_its_processor_or_template_refuses(tmp_path):
    picture(0, (3, 4000)).save(tmp_path / "tall.png")
    with vl.HookedVLM(*build("qwen2_5_vl")) as vlm:
        tall = vl.Sample("What?", tmp_path / "tall.png", id="seven")
        with pytest.raises(InputError, match=r"sample 'seven' .*tall\.png: .*aspect ratio"):
            vlm.inputs([vl.Sample("What?", picture(0)), tall])
        with pytest.raises(InputError, match="sample 'eight'"):
            vlm.inputs(vl.Sample("<image><image> What?", picture(0), id="eight"))


def test_a_single_picture_in_any_way_is_one_sample(vlm, tmp_path):
    image = picture(0)
    image.save(tmp_path / "a.png")
    want = vlm.inputs([image], ["What?"]).tensors["pixel_values"]
    ways = [tmp_path / "a.png", str(tmp_path / "a.png"), image, np.asarray(image)]
    for given in [*ways, (tmp_path / "a.png").read_bytes()]:
        for prompts in ("What?", ["What?"]):
            assert torch.equal(vlm.inputs(given, prompts).tensors["pixel_values"], want)
        assert torch.equal(vlm.inputs([given], ["What?"]).tensors["pixel_values"], want)
        assert torch.equal(vlm.inputs([[given]], ["What?"]).tensors["pixel_values"], want)


@pytest.mark.parametrize("height", by_turns([1, 3, 4], [3]))
def test_a_picture_of_few_rows_is_no_array_of_channels(every_vlm, height):
    """Of an array of 3 x 20 x 3 some processors take the rows for channels."""
    pixels = np.zeros((height, 20, 3), np.uint8)
    pixels[:, :10], pixels[:, 10:] = (255, 0, 0), (0, 0, 255)
    shown = Image.fromarray(pixels)
    if every_vlm.name == "lighton_ocr" or every_vlm.name.startswith("mistral3"):
        pytest.skip("its processor says the patches' size itself")
    made = every_vlm.inputs([shown], ["What is it?"]).tensors
    processor = every_vlm.processor.image_processor
    plain = processor(images=[shown], input_data_format="channels_last", return_tensors="pt")
    (name,) = (name for name in made if name.startswith("pixel_values"))
    (theirs,) = (name for name in plain if name.startswith("pixel_values"))  # Video-LLaVA's own
    assert torch.equal(made[name], plain[theirs])
