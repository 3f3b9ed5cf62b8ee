"""What a call tells a processor is looked at by it, or refused; and what is refused does nothing.

Checked by plain transformers: a processor that is told what we refuse makes the same of pictures
of many shapes, and one that is told what we pass on makes something else of one of them.
"""

import numpy as np
import pytest
import torch
from conftest import EVERY, by_turns, picture
from films import ALWAYS, FAMILIES, asked, noise, opened

import vlmlens as vl
from vlmlens.errors import InputError, VLMLensError
from vlmlens.model.sequence.pixels import OURS
from vlmlens.model.sequence.settings import settings_of
from vlmlens.model.sequence.videos import NOT_TOLD
from vlmlens.zoo.tiny import build

NOTHING = "would change nothing"
SIZES = ((96, 40), (48, 48), (40, 130), (330, 100))
SEEN = [picture(seed, size) for seed, size in enumerate(SIZES)]
FILMS = [noise(8, size=(72, 48), fps=4), noise(24, size=(40, 90), fps=8)]
#: What processors look at and these pictures need not: an end that is not reached, tiles that
#: have their size already, one picture that is as large as the largest of its batch.
NOT_REACHED = (
    *("min_pixels", "max_pixels", "min_size", "min_patches", "max_patches", "do_pan_and_scan"),
    *("do_resize", "do_center_crop", "do_pad", "image_grid_pinpoints", "max_image_size"),
    *("cap_pixels_per_frame", "use_token_compression", "min_frames", "max_frames"),
)
#: How fast it is done.
NO_PIXELS = ("disable_grouping",)


def others(name, own):
    """Values of an option that are not the processor's own."""
    if name.startswith("do_") or isinstance(own, bool):
        return [not own]
    if name.endswith("resample"):
        return [which for which in (0, 1, 2, 3) if which != own]
    if isinstance(own, dict):
        return [{k: max(1, int(n * by)) for k, n in own.items()} for by in (1 / 16, 1 / 2, 2)]
    if name.endswith(("_mean", "_std")):
        return [[0.3, 0.2, 0.4]]
    if name in ("size", "crop_size", "pad_size"):
        return [{"height": 20, "width": 20}]
    if isinstance(own, int | float):
        return [type(own)(own / 2), own * 2]
    return [1, 5, 0.5, True]


def same(one, other):
    def alike(x, y):
        return torch.equal(torch.as_tensor(np.asarray(x)), torch.as_tensor(np.asarray(y)))

    kept = [n for n in one if n != "video_metadata"]
    return one.keys() == other.keys() and all(alike(one[n], other[n]) for n in kept)


def outcome(told, shown, usual, ours, plainly):
    """``refused``, ``changes``, ``same`` or ``other`` (an error of another kind)."""
    found = "other"
    for each, before in zip(shown, usual, strict=True):
        try:
            made = ours(each, told)
        except InputError as error:
            if NOTHING not in str(error):
                continue
            for one in shown:
                assert same(plainly(one, {}), plainly(one, told)), (told, str(error))
            return "refused"
        except VLMLensError:
            continue
        found = "changes" if found == "changes" or not same(before, made) else "same"
    return found


def hold(known, shown, ours, plainly):
    """The law; returns how many options were refused."""
    usual, refused, silent = [ours(each, {}) for each in shown], 0, {}
    for name, own in known.items():
        found = {outcome({name: x}, shown, usual, ours, plainly) for x in others(name, own)}
        if found <= {"same", "other"} and "same" in found:
            identity = name == "do_normalize" and {*known["image_mean"]} == {0.0}
            everyone = name == "do_sample_frames" and own  # all frames: that is never wrong to say
            silent |= {} if identity or everyone else {name: own}
        refused += "refused" in found
        if own is not None:  # what it is anyway is none that would change nothing
            try:
                ours(shown[0], {name: own})
            except VLMLensError as error:
                assert NOTHING not in str(error), name
    assert not {*silent} - {*NOT_REACHED, *NO_PIXELS}, silent
    return refused


@pytest.mark.parametrize(
    "name", by_turns(EVERY, ("llava", "internvl", "qwen2_5_vl", "video_llava"))
)
def test_an_option_of_pictures_is_looked_at_or_refused(name):
    with vl.HookedVLM(*build(name), name=name) as model:
        taker = model.processor.image_processor
        known = {n: own for n, own in settings_of(taker).items() if n not in OURS}
        hold(
            known,
            SEEN,
            lambda seen, told: model.inputs([seen], ["What?"], images_kwargs=told).tensors,
            lambda seen, told: taker(seen, **told, return_tensors="np"),
        )


@pytest.mark.parametrize("name", by_turns(FAMILIES, (*ALWAYS, "glm4v", "smolvlm")))
def test_an_option_of_videos_is_looked_at_or_refused(name):
    model = opened(name)
    taker = model.processor.video_processor
    known = {n: own for n, own in settings_of(taker).items() if n not in NOT_TOLD}

    def ours(film, told):
        given = model.inputs(asked(film), videos_kwargs=told)
        return {**given.tensors, "frames": given.layouts[0].frames()}

    def plainly(film, told):
        meta = {"total_num_frames": len(film.frames), "fps": film.fps, "duration": 2.0}
        return taker(
            [film.frames], video_metadata=[meta], input_data_format="channels_last", **told
        )

    assert hold(known, FILMS, ours, plainly) > 0
