import pickle
from functools import cache

import numpy as np
import pytest

from vlmlens.datasets import counterfactual_pairs
from vlmlens.datasets.shapes import CATEGORIES, COLORS, Scene, Shape, ask
from vlmlens.datasets.shapes.pairs import EDITS
from vlmlens.datasets.shapes.scene import MARGIN
from vlmlens.errors import DataError, UnknownNameError

EVERY = [(kind, category) for kind, edit in EDITS.items() for category in edit.categories]


@cache
def some(kind, category="color_rel"):
    # Four layouts in five are of this split, so it is quicker than the other.
    return counterfactual_pairs(8, kind=kind, category=category, split="train")


def scenes(pair):
    return pair.clean.images[0].scene, pair.corrupted.images[0].scene


def centres(scene):
    return np.array([(s.x, s.y) for s in scene.shapes])


def names(scene):
    return [s.name for s in scene.shapes]


@pytest.mark.parametrize(("kind", "category"), EVERY)
def test_both_sides_have_one_prompt_and_one_right_answer_each(kind, category):
    for pair in some(kind, category):
        clean, corrupted = pair.clean, pair.corrupted
        assert clean.question == corrupted.question
        assert clean.choices == corrupted.choices
        assert clean.category == corrupted.category == category
        assert len(clean.answer.split()) == len(corrupted.answer.split())
        for sample, scene in zip((clean, corrupted), scenes(pair), strict=True):
            assert scene.fits()
            assert scene.split == "train"
            assert len(set(names(scene))) == len(names(scene))
            right = [q.answer for q in ask(scene, category) if q.text == sample.question]
            assert right == [sample.answer]


@pytest.mark.parametrize(("kind", "category"), EVERY)
def test_the_answer_changes_except_where_everything_is_shifted(kind, category):
    for pair in some(kind, category):
        assert pair.kind == kind
        assert (pair.clean.answer == pair.corrupted.answer) == (kind == "shift")


@pytest.mark.parametrize("kind", EDITS)
def test_shapes_that_are_not_named_as_changed_stay(kind):
    for pair in some(kind):
        before, after = scenes(pair)
        differ = [
            i for i, (a, b) in enumerate(zip(before.shapes, after.shapes, strict=True)) if a != b
        ]
        assert pair.changed == tuple(differ)


def test_swap_lets_two_shapes_change_places():
    for pair in some("swap"):
        before, after = scenes(pair)
        i, j = pair.changed
        assert names(before) == names(after)
        order = list(range(len(before.shapes)))
        order[i], order[j] = j, i
        assert (centres(after) == centres(before)[order]).all()


@pytest.mark.parametrize("category", CATEGORIES)
def test_mirror_exchanges_left_and_right_also_in_the_answer(category):
    for pair in some("mirror", category):
        before, after = scenes(pair)
        assert names(before) == names(after)
        assert np.allclose(centres(after), centres(before) * (-1, 1) + (1, 0))
        *row, side = pair.clean.answer.split()
        other = {"left": "right", "right": "left"}[side]
        assert pair.corrupted.answer == " ".join([*row, other])


def test_shift_moves_everything_alike_and_far_enough_to_see():
    for pair in some("shift", "shape_abs"):
        before, after = scenes(pair)
        assert names(before) == names(after)
        steps = centres(after) - centres(before)
        assert np.allclose(steps, steps[0])
        assert np.abs(steps[0]).max() >= MARGIN


@pytest.mark.parametrize("category", EDITS["recolor"].categories)
def test_recolor_changes_one_colour_and_the_answer_says_so(category):
    for pair in some("recolor", category):
        before, after = scenes(pair)
        (i,) = pair.changed
        assert (centres(before) == centres(after)).all()
        assert before.shapes[i].color in pair.clean.answer
        assert after.shapes[i].color in pair.corrupted.answer
        assert before.shapes[i].shape == after.shapes[i].shape


@pytest.mark.parametrize("kind", EDITS)
def test_both_scenes_are_of_the_split_asked_for(kind):
    pairs = counterfactual_pairs(3, kind=kind, size=64)
    assert {scene.split for pair in pairs for scene in scenes(pair)} == {"test"}
    assert pairs[0].corrupted.pictures()[0].size == (64, 64)


def test_recolor_makes_no_two_shapes_alike():
    rng = np.random.default_rng(0)
    five, six = (
        Scene(tuple(Shape("star", color, 0.1, 0.1, 0.1) for color in list(COLORS)[:count]))
        for count in (5, 6)
    )
    for _ in range(10):
        scene, (i,) = EDITS["recolor"].apply(five, rng)
        assert scene.shapes[i].color == list(COLORS)[5]
        assert EDITS["recolor"].apply(six, rng) is None


def test_pairs_are_values_of_their_seed():
    few = counterfactual_pairs(4, kind="swap", split="train")
    assert few == some("swap")[:4]
    assert pickle.loads(pickle.dumps(few)) == few
    assert not set(few) & set(counterfactual_pairs(4, kind="swap", split="train", seed=1))
    assert few[0].clean.id == "2ds-train-0-swap-color_rel-00000-clean"
    assert len({sample.id for p in few for sample in (p.clean, p.corrupted)}) == 8


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"kind": "mirrored"}, UnknownNameError, "did you mean mirror"),
        ({"kind": "swap", "category": "count"}, DataError, "goes with questions of color_abs"),
        ({"kind": "recolor", "category": "shape_rel"}, DataError, "no recolor pairs"),
        ({"kind": "swap", "pairs": 0}, DataError, "at least one"),
        ({"kind": "swap", "seed": -2}, DataError, "negative"),
        ({"kind": "swap", "split": "val"}, UnknownNameError, "train"),
    ],
)
def test_bad_arguments_are_refused_with_advice(arguments, error, words):
    with pytest.raises(error, match=words):
        counterfactual_pairs(**arguments)
