"""A picture is known by the pixels that a model is shown, wherever they come from."""

import os
from functools import partial

import pytest
from conftest import picture
from PIL import Image

import vlmlens as vl
from vlmlens import identity
from vlmlens.errors import ImageError


def test_the_same_pixels_are_the_same_picture(tmp_path):
    image = picture(0)
    image.save(tmp_path / "one.png")
    image.save(tmp_path / "other.bmp")
    one = identity.picture(image)
    ways = [
        image.copy(),
        tmp_path / "one.png",
        str(tmp_path / "other.bmp"),
        lambda: picture(0),
        partial(picture, 0),
    ]
    assert {identity.picture(way) for way in ways} == {one}
    # By its key, edits are drawn for a sample without an id.
    assert len({vl.Sample("What?", (way,)).key for way in [image, *ways]}) == 1
    assert vl.Sample("What?", (picture(1),)).key != vl.Sample("What?", (image,)).key
    assert identity.picture(picture(1)) != one


def test_other_pixels_of_the_same_bytes_are_others():
    wide, tall = (Image.new("RGB", size) for size in ((8, 2), (2, 8)))
    assert identity.picture(wide) != identity.picture(tall)
    red, blue = (Image.new("P", (4, 4)) for _ in range(2))
    red.putpalette([255, 0, 0])
    blue.putpalette([0, 0, 255])
    assert identity.picture(red) != identity.picture(blue)


def test_a_file_written_anew_is_read_anew_whatever_its_dates_say(tmp_path):
    path = tmp_path / "picture.bmp"
    picture(0, (30, 30)).save(path)
    before, dates = identity.picture(path), path.stat()
    picture(1, (30, 30)).save(path)
    os.utime(path, ns=(dates.st_atime_ns, dates.st_mtime_ns))
    assert path.stat().st_size == dates.st_size
    assert identity.picture(path) != before
    path.unlink()
    with pytest.raises(ImageError, match=r"picture\.bmp: there is no such file"):
        identity.picture(path)


def test_a_file_written_twice_within_a_tick_of_the_clock_is_read_twice(tmp_path, monkeypatch):
    path = tmp_path / "picture.bmp"
    picture(0, (30, 30)).save(path)
    now = path.stat()
    monkeypatch.setattr("vlmlens.picture.Path.stat", lambda self, **_: now)  # a coarse clock
    before = identity.picture(path)
    picture(1, (30, 30)).save(path)
    assert identity.picture(path) != before


def test_a_scene_is_all_pictures_in_their_order():
    def scene(*pictures, question="What?"):
        return identity.scene(vl.Sample(question, pictures))

    one, two = picture(0), picture(1)
    assert scene(one, two) == scene(one.copy(), two, question="Where?")
    assert len({scene(), scene(one), scene(two), scene(one, two), scene(two, one)}) == 5
    assert scene() == ""
