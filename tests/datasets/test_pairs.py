import pickle

import numpy as np
import pytest

from vlmlens.datasets import counterfactual_pairs
from vlmlens.datasets.shapes_2d import CATEGORIES, ask
from vlmlens.datasets.shapes_2d.pairs import EDITS
from vlmlens.datasets.shapes_2d.scene import MARGIN
from vlmlens.errors import DataError, UnknownNameError

EVERY = [(kind, category) for kind, edit in EDITS.items() for category in edit.categories]


def scenes(pair):
    return pair.clean.images[0].scene, pair.corrupted.images[0].scene


def centres(scene):
    return np.array([(s.x, s.y) for s in scene.shapes])


def names(scene):
    return [s.name for s in scene.shapes]


@pytest.mark.parametrize(("kind", "category"), EVERY)
def test_both_sides_have_one_prompt_and_one_right_answer_each(kind, category):
    for pair in counterfactual_pairs(10, kind=kind, category=category):
        clean, corrupted = pair.clean, pair.corrupted
        assert clean.question == corrupted.question
        assert clean.choices == corrupted.choices
        assert clean.category == corrupted.category == category
        assert len(clean.answer.split()) == len(corrupted.answer.split())
        for sample, scene in zip((clean, corrupted), scenes(pair), strict=True):
            assert scene.fits()
            assert scene.split == "test"
            assert len(set(names(scene))) == len(names(scene))
            right = [q.answer for q in ask(scene, category) if q.text == sample.question]
            assert right == [sample.answer]


@pytest.mark.parametrize(("kind", "category"), EVERY)
def test_the_answer_changes_except_where_everything_is_shifted(kind, category):
    for pair in counterfactual_pairs(10, kind=kind, category=category):
        assert pair.kind == kind
        assert (pair.clean.answer == pair.corrupted.answer) == (kind == "shift")


@pytest.mark.parametrize("kind", EDITS)
def test_shapes_that_are_not_named_as_changed_stay(kind):
    for pair in counterfactual_pairs(20, kind=kind):
        before, after = scenes(pair)
        differ = [
            i for i, (a, b) in enumerate(zip(before.shapes, after.shapes, strict=True)) if a != b
        ]
        assert pair.changed == tuple(differ)


def test_swap_lets_two_shapes_change_places():
    for pair in counterfactual_pairs(20, kind="swap"):
        before, after = scenes(pair)
        i, j = pair.changed
        assert names(before) == names(after)
        order = list(range(len(before.shapes)))
        order[i], order[j] = j, i
        assert (centres(after) == centres(before)[order]).all()


@pytest.mark.parametrize("category", CATEGORIES)
def test_mirror_exchanges_left_and_right_also_in_the_answer(category):
    for pair in counterfactual_pairs(10, kind="mirror", category=category):
        before, after = scenes(pair)
        assert names(before) == names(after)
        assert np.allclose(centres(after), centres(before) * (-1, 1) + (1, 0))
        *row, side = pair.clean.answer.split()
        other = {"left": "right", "right": "left"}[side]
        assert pair.corrupted.answer == " ".join([*row, other])


def test_shift_moves_everything_alike_and_far_enough_to_see():
    for pair in counterfactual_pairs(20, kind="shift", category="shape_abs"):
        before, after = scenes(pair)
        assert names(before) == names(after)
        steps = centres(after) - centres(before)
        assert np.allclose(steps, steps[0])
        assert np.abs(steps[0]).max() >= MARGIN


@pytest.mark.parametrize("category", EDITS["recolor"].categories)
def test_recolor_changes_one_colour_and_the_answer_says_so(category):
    for pair in counterfactual_pairs(10, kind="recolor", category=category):
        before, after = scenes(pair)
        (i,) = pair.changed
        assert (centres(before) == centres(after)).all()
        assert before.shapes[i].color in pair.clean.answer
        assert after.shapes[i].color in pair.corrupted.answer
        assert before.shapes[i].shape == after.shapes[i].shape


def test_pairs_are_values_of_their_seed():
    few = counterfactual_pairs(5, kind="swap", seed=1)
    assert few == counterfactual_pairs(9, kind="swap", seed=1)[:5]
    assert pickle.loads(pickle.dumps(few)) == few
    assert not set(few) & set(counterfactual_pairs(5, kind="swap", seed=2))
    assert few[0].clean.id == "2ds-test-1-swap-color_rel-00000-clean"
    train = counterfactual_pairs(5, kind="mirror", split="train", size=64)
    assert {scene.split for pair in train for scene in scenes(pair)} == {"train"}
    assert train[0].corrupted.pictures()[0].size == (64, 64)


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
