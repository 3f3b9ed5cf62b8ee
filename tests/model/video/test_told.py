"""What a call tells the processors: as plain transformers takes it, or refused."""

import warnings

import numpy as np
import pytest
import torch
from conftest import EVERY, by_turns, picture
from films import ALWAYS, CHOOSES_BY, FAMILIES, asked, noise, opened
from test_videos import plain, same_as_plain

import vlmlens as vl
from vlmlens.errors import ImageError, InputError, VLMLensError
from vlmlens.model.sequence.pixels import OF_WEIGHTS
from vlmlens.zoo.tiny import build

#: Those whose processor takes numbers of pixels for a size.
BY_PIXELS = ("qwen2_5_vl", "video_llama_3")
SMALL = {"min_pixels": 64, "max_pixels": 1600}
FEW = {"min_pixels": 64, "max_pixels": 640}


@pytest.fixture(scope="module", params=by_turns(FAMILIES, (*ALWAYS, "molmo2", "video_llama_3")))
def seer(request):
    return opened(request.param)


def known(taker):
    return taker.valid_kwargs.__annotations__


@pytest.mark.parametrize("told", [{"fps": 1}, {"fps": 3}, {"num_frames": 3}], ids=str)
def test_the_rate_that_a_processor_supposes_is_in_the_prompt(seer, told):
    """Where nobody says how many frames a second there were."""
    video = noise(5, size=(40, 32), fps=None)
    theirs = {"fps": None, "num_frames": None, "do_sample_frames": True} | told
    if not {*told} & {*CHOOSES_BY.get(str(seer.name), told)}:
        with pytest.raises(InputError, match="would not look at it"):
            seer.inputs(asked(video), videos_kwargs=told)
        return
    try:
        made = plain(seer, [video], **theirs)
    except Exception:  # who cannot choose without a rate says so, and so do we
        with pytest.raises(InputError, match=r"cannot choose frames|refuses this sample"):
            seer.inputs(asked(video), videos_kwargs=told)
        return
    given = seer.inputs(asked(video), videos_kwargs=told)
    same_as_plain(seer, given, made)
    assert np.isnan(given.layouts[0].seconds).all()


@pytest.mark.parametrize("height", [1, 3, 4])
def test_frames_of_a_few_rows_are_frames_of_a_few_rows(seer, height):
    """Three rows are no three channels."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (4, height, 40, 3), dtype=np.uint8)
    video = vl.Video(rows, fps=2)
    try:
        made = plain(seer, [video], input_data_format="channels_last")
    except Exception:
        with pytest.raises(InputError, match="refuses this sample"):
            seer.inputs(asked(video))
        return
    given = seer.inputs(asked(video)).tensors  # Gemma 4's tower has no places for one row of 40
    assert all(torch.equal(given[name], x) for name, x in made.items() if name in given)
    assert {"input_ids", seer_pixels(given)} <= {*made}


def seer_pixels(tensors):
    """Where the pixels of videos are: some families keep them where those of pictures are."""
    return next(name for name in ("pixel_values_videos", "pixel_values") if name in tensors)


def test_numbers_of_pixels_say_a_videos_size(seer):
    taker = seer.processor.video_processor
    if not {*SMALL} <= {*known(taker)}:
        with pytest.raises(VLMLensError, match="min_pixels"):
            seer.inputs(asked(noise()), videos_kwargs=SMALL)
        return
    video = noise(4, size=(72, 48))
    given = seer.inputs(asked(video), videos_kwargs=SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # what plain calls are told of these names
        made = plain(seer, [video], **SMALL)
    same_as_plain(seer, given, made)
    assert len(given.layouts[0]) < len(seer.inputs(asked(video)).layouts[0])


@pytest.mark.parametrize("name", by_turns(EVERY, BY_PIXELS))
def test_numbers_of_pixels_say_a_pictures_size(name):
    with vl.HookedVLM(*build(name), name=name) as model:
        taker, seen = model.processor.image_processor, picture(0, (72, 48))
        if not {*SMALL} <= {*known(taker)}:
            with pytest.raises(VLMLensError, match="min_pixels"):
                model.inputs([seen], ["What is it?"], images_kwargs=SMALL)
            return
        given = model.inputs([seen], ["What is it?"], images_kwargs=FEW)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            theirs = taker(seen, **FEW, return_tensors="pt")
        assert torch.equal(given.tensors["pixel_values"], theirs["pixel_values"])
        usual = model.inputs([seen], ["What is it?"])
        assert len(given.layouts[0]) < len(usual.layouts[0])


def test_patches_that_weights_are_not_made_for_are_refused(seer):
    processor = seer.processor
    for what, taker in (
        ("images_kwargs", processor.image_processor),
        ("videos_kwargs", processor.video_processor),
    ):
        for name in {*OF_WEIGHTS} & {*known(taker)}:
            own = getattr(taker, name)
            if name == "merge_size" and not hasattr(
                seer.config.vision_config, "spatial_merge_size"
            ):
                continue  # said of every picture, by its tensors
            for other in (own + 1, 2 * own):
                with pytest.raises(InputError, match=f"'{name}'.*made for {name}={own}"):
                    seer.inputs(asked(noise(4)), **{what: {name: other}})
            seer.inputs(asked(noise(4)), **{what: {name: own}})


def test_a_processor_that_merges_otherwise_is_refused(monkeypatch):
    seer = opened("qwen2_5_vl")
    for part in ("image_processor", "video_processor"):
        with monkeypatch.context() as changed:
            changed.setattr(getattr(seer.processor, part), "merge_size", 1)
            shown = picture() if part == "image_processor" else None
            with pytest.raises(InputError, match=r"merge_size=1.*merges 2 x 2"):
                seer.inputs(asked(noise(4)) if shown is None else vl.Sample("What?", shown))


@pytest.mark.parametrize(
    "told",
    [
        {"fps": 0},
        {"fps": -1},
        {"fps": float("nan")},
        {"fps": "2"},
        {"num_frames": 0},
        {"num_frames": 2.5},
        {"num_frames": True},
        {"do_sample_frames": "no"},
        {"do_resize": 1},
    ],
    ids=str,
)
def test_numbers_and_switches_that_are_none_are_refused(told):
    (name,) = told
    with pytest.raises(InputError, match=rf"videos_kwargs\['{name}'\]"):
        opened("qwen2_5_vl").inputs(asked(noise(4)), videos_kwargs=told)


def test_channels_before_frames_are_refused_where_they_could_be_either():
    clip = np.zeros((3, 4, 24, 40), np.uint8)
    with pytest.raises(ImageError, match="3 frames of 4 channels or 4 frames of 3"):
        vl.Video(clip)
    assert len(vl.Video(clip.transpose(1, 2, 3, 0)).frames) == 4
    assert len(vl.Video(np.zeros((3, 4, 24, 3), np.uint8)).frames) == 3
