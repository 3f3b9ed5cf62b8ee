"""Pairs of photographs: what differs is what the edit says, and models see the same prompt."""

import numpy as np
import pytest
from conftest import build

from vlmlens.datasets import photo_pairs
from vlmlens.datasets.cutouts import EDITS, THINGS
from vlmlens.errors import DataError, UnknownNameError
from vlmlens.model import HookedVLM

COUNT = 24


def pixels(sample):
    (picture,) = sample.pictures()
    return np.asarray(picture).astype(int)


def answered(sample):
    """The right answer, worked out from where things are."""
    (scene,) = sample.images
    at = {thing.name: thing for thing in scene.things}
    if sample.category == "which":
        return "flower" if at["flower"].x < at["tower"].x else "tower"
    named = [name for name in THINGS if name in sample.question]
    asked = min(named, key=sample.question.index)
    if sample.category == "color":
        return at[asked].color or {"flower": "orange", "tower": "red"}[asked]
    (other,) = set(THINGS) - {asked}
    left = at[asked].x < at[other].x
    return {"side": ("right", "left"), "yes_no": ("no", "yes")}[sample.category][left]


@pytest.mark.parametrize("kind", EDITS)
def test_pairs_have_one_prompt_and_the_answers_of_their_pictures(kind):
    pairs = photo_pairs(COUNT, kind=kind, size=64)
    assert len({pair.clean.id for pair in pairs}) == COUNT
    for pair in pairs:
        clean, corrupted = pair.clean, pair.corrupted
        assert (clean.question, clean.choices) == (corrupted.question, corrupted.choices)
        assert (clean.answer == corrupted.answer) == (kind == "shift")
        for sample in (clean, corrupted):
            assert sample.answer == answered(sample) and sample.answer in sample.choices
            assert " " not in sample.answer
            assert sample.images[0].fits() and pixels(sample).shape == (64, 64, 3)
    assert len({pair.clean.answer for pair in pairs}) > 1
    assert len({pair.clean.category for pair in pairs}) == len(EDITS[kind][1])


@pytest.mark.parametrize("kind", ["swap", "recolor"])
def test_nothing_but_the_changed_things_changes(kind):
    for pair in photo_pairs(6, kind=kind):
        before, after = pair.clean.images[0], pair.corrupted.images[0]
        differs = (pixels(pair.clean) != pixels(pair.corrupted)).any(-1)
        assert differs.sum() > 500
        for scene in (before, after):
            for number in pair.changed:
                left, top, right, bottom = (round(224 * x) for x in scene.things[number].box())
                differs[max(top - 2, 0) : bottom + 2, max(left - 2, 0) : right + 2] = False
        assert not differs.any()


def test_a_mirrored_picture_is_the_other_way_round():
    for pair in photo_pairs(4, kind="mirror"):
        flipped = pixels(pair.clean)[:, ::-1]
        assert np.abs(flipped - pixels(pair.corrupted)).mean() < 4  # whole pixels, odd widths
        assert np.abs(pixels(pair.clean) - pixels(pair.corrupted)).mean() > 10


def test_things_have_edges_that_fade_and_pictures_are_photographs():
    pair = photo_pairs(1, kind="recolor")[0]
    seen = pixels(pair.clean)
    assert len(np.unique(seen.reshape(-1, 3), axis=0)) > 3000


@pytest.mark.parametrize("family", ["llava", "qwen2_vl"])
def test_both_pictures_make_the_same_sequence(family):
    """The same words, at the same places, beside as many tokens of as large an image."""
    with HookedVLM(*build(family)) as model:
        for kind in EDITS:
            for pair in photo_pairs(2, kind=kind, size=56):
                one, other = (model.inputs([s]) for s in (pair.clean, pair.corrupted))
                assert one.tensors["input_ids"].equal(other.tensors["input_ids"])
                assert one.layouts[0].roles == other.layouts[0].roles
                assert one.layouts[0].grid() == other.layouts[0].grid()


def test_a_seed_makes_the_same_pairs_and_another_others():
    assert photo_pairs(3, kind="swap", seed=1) == photo_pairs(3, kind="swap", seed=1)
    assert photo_pairs(3, kind="swap", seed=1) != photo_pairs(3, kind="swap", seed=2)
    with pytest.raises(UnknownNameError, match="did you mean swap"):
        photo_pairs(1, kind="swop")
    with pytest.raises(DataError, match="ask for at least one"):
        photo_pairs(0, kind="swap")
