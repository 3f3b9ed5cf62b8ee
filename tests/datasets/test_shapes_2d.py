import math
import pickle
import re
from collections import Counter

import numpy as np
import pytest

from vlmlens import datasets
from vlmlens.datasets import DATASETS, load
from vlmlens.datasets.shapes import (
    CATEGORIES,
    COLORS,
    FORMS,
    Drawn,
    Scene,
    Shape,
    ask,
    entries,
    random_scene,
    shapes_2d,
)
from vlmlens.datasets.shapes.scene import MARGIN, SHAPES
from vlmlens.errors import DataError, UnknownNameError

TOWARDS = {
    "left": (-1, 0), "right": (1, 0), "top": (0, -1), "bottom": (0, 1),
    "left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1),
}  # fmt: skip
PLACE = "left of|right of|above|below"


@pytest.fixture(scope="module")
def scenes():
    rng = np.random.default_rng(7)
    return [random_scene(rng) for _ in range(150)]


@pytest.fixture(scope="module", params=FORMS)
def asked(request, scenes):
    """Every question of one category about every scene."""
    return request.param, [(scene, q) for scene in scenes for q in ask(scene, request.param)]


@pytest.fixture(scope="module")
def drawn():
    return list(entries(200))


def only(scene, name):
    """The one shape of that name ("circle", "red shape", "red circle")."""
    words = [word for word in name.split() if word != "shape"]
    (found,) = [s for s in scene.shapes if all(w in (s.color, s.shape) for w in words)]
    return found


def along(shape, towards):
    return float(np.dot((shape.x, shape.y), TOWARDS[towards]))


def spoken(shape, what):
    return {"color": shape.color, "shape": shape.shape, None: shape.name}[what]


def truth(scene, text):
    """What geometry answers, worked out anew from the words; fails where it is ambiguous."""
    if m := re.fullmatch(r"What (?:(color|shape) )?is at the (\w+)\?", text):
        second, first = sorted(scene.shapes, key=lambda s: along(s, m[2]))[-2:]
        assert along(first, m[2]) - along(second, m[2]) >= MARGIN
        return spoken(first, m[1])
    if m := re.fullmatch(r"Where is the (.+)\?", text):
        x, y = np.array((only(scene, m[1]).x, only(scene, m[1]).y)) - 0.5
        assert min(abs(x), abs(y)) >= MARGIN / 2
        return f"{'top' if y < 0 else 'bottom'} {'left' if x < 0 else 'right'}"
    if m := re.fullmatch(rf"What (?:(color|shape) )?is ({PLACE}) the (.+)\?", text):
        anchor = only(scene, m[3])
        steps = [along(s, m[2]) - along(anchor, m[2]) for s in scene.shapes if s is not anchor]
        assert min(map(abs, steps)) >= MARGIN
        (there,) = [s for s in scene.shapes if along(s, m[2]) > along(anchor, m[2])]
        return spoken(there, m[1])
    if m := re.fullmatch(r"Is the (.+) (left|above) or (right|below)(?: of)? the (.+)\?", text):
        step = along(only(scene, m[1]), m[2]) - along(only(scene, m[4]), m[2])
        assert abs(step) >= MARGIN
        return m[2] if step > 0 else m[3]
    if m := re.fullmatch(rf"Is the (.+) ({PLACE}) the (.+)\?", text):
        step = along(only(scene, m[1]), m[2]) - along(only(scene, m[3]), m[2])
        assert abs(step) >= MARGIN
        return "yes" if step > 0 else "no"
    if m := re.fullmatch(r"What (color|shape) is the (.+)\?", text):
        return spoken(only(scene, m[2]), m[1])
    if m := re.fullmatch(r"Is there a (.+)\?", text):
        return "yes" if m[1] in [s.name for s in scene.shapes] else "no"
    if m := re.fullmatch(r"Which (column|row) is the (.+) in\?", text):
        cell = 8 * (only(scene, m[2]).x if m[1] == "column" else only(scene, m[2]).y)
        assert abs(cell - round(cell)) > 0.1
        return str(int(cell) + 1)
    assert text == "How many shapes are there?"
    return str(len(scene.shapes))


def test_geometry_gives_every_question_its_one_answer(asked):
    category, questions = asked
    assert len(questions) >= 150
    for scene, q in questions:
        assert q.answer == truth(scene, q.text), (scene, q)
        assert q.answer in q.choices
        assert len(set(q.choices)) == len(q.choices)
        assert q.category == category


def test_the_table_of_forms_is_what_is_asked(asked):
    category, questions = asked
    answers = {form: set() for form in FORMS[category]}
    for _, q in questions:
        answers[q.form].add(q.answer)
    for form, listed in FORMS[category].items():
        assert answers[form] <= set(listed)
        assert len(answers[form]) >= min(len(listed), 10)
        assert len({len(answer.split()) for answer in listed}) == 1


def test_a_scene_worked_out_on_paper():
    scene = Scene(
        (Shape("circle", "red", 0.2, 0.3, 0.1), Shape("square", "blue", 0.7, 0.8, 0.1)),
    )
    answers = {q.text: q.answer for c in FORMS for q in ask(scene, c)}
    assert answers["What color is at the left?"] == "red"
    assert answers["What is at the bottom?"] == "blue square"
    assert answers["Where is the circle?"] == "top left"
    assert answers["What shape is below the circle?"] == "square"
    assert answers["Is the red shape left or right of the blue shape?"] == "left"
    assert answers["Is the square above the circle?"] == "no"
    assert answers["How many shapes are there?"] == "2"
    assert answers["Is there a red square?"] == "no"
    assert answers["Which row is the red circle in?"] == "3"


def test_the_same_seed_gives_the_same_samples_and_another_seed_others(drawn):
    def content(**arguments):
        return {(s.question, s.images) for s in shapes_2d(30, **arguments)}

    first = content(seed=0)
    assert first == {(s.question, s.images) for s in (e.sample() for e in drawn[:30])}
    assert not first & content(seed=1)
    assert not first & content(seed=0, split="train")


def test_samples_depend_neither_on_how_many_nor_on_the_other_categories(drawn):
    assert shapes_2d(20) == [e.sample() for e in drawn[:20]]
    alone = list(entries(10, categories=["shape_rel"]))
    assert alone == [e for e in drawn if e.question.category == "shape_rel"][:10]


def test_no_sample_is_drawn_twice(drawn):
    assert len({e.scene for e in drawn}) == len({e.id for e in drawn}) == len(drawn) == 200


@pytest.mark.parametrize("samples", [7, 100, 200])
def test_categories_forms_and_answers_are_balanced_from_the_first_on(drawn, samples):
    questions = [e.question for e in drawn[:samples]]
    even(Counter(q.category for q in questions), CATEGORIES)
    for category in CATEGORIES:
        within = [q for q in questions if q.category == category]
        even(Counter(q.form for q in within), FORMS[category])
        for form, answers in FORMS[category].items():
            even(Counter(q.answer for q in within if q.form == form), answers)


def test_controls_and_the_lesson_are_balanced_too():
    others = [category for category in FORMS if category not in CATEGORIES]
    questions = [e.question for e in entries(50, categories=others)]
    even(Counter(q.category for q in questions), others)
    even(Counter(q.answer for q in questions if q.form == "count"), "23456")
    even(Counter(q.answer for q in questions if q.form == "exist"), ("yes", "no"))


def even(counts, known):
    assert counts.keys() <= set(known)
    numbers = [counts[name] for name in known]
    assert max(numbers) - min(numbers) <= 1


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_entry_is_sound(drawn, split):
    some = drawn if split == "test" else list(entries(60, split=split))
    assert some[0].id == f"2ds-{split}-0-color_abs-00000"
    for entry in some:
        scene, sample = entry.scene, entry.sample()
        assert scene.split == split
        assert scene.fits()
        assert 2 <= len(scene.shapes) <= 6
        assert len({s.name for s in scene.shapes}) == len(scene.shapes)
        assert sample.answer == truth(scene, sample.question)
        assert (sample.id, sample.category) == (entry.id, entry.question.category)
        assert sample.choices == entry.question.choices


def test_no_layout_is_in_both_splits():
    rng = np.random.default_rng(0)
    layouts = {"train": set(), "test": set()}
    for _ in range(400):  # of 120 layouts of two shapes, so that many come again and again
        scene = random_scene(rng, 2)
        cells = frozenset((int(4 * s.y), int(4 * s.x)) for s in scene.shapes)
        layouts[scene.split].add(cells)
    assert not layouts["train"] & layouts["test"]
    assert len(layouts["train"]) > len(layouts["test"]) > 10


def test_pictures_hold_each_colour_at_its_shapes_centre(drawn):
    for entry in drawn[:24]:
        sample = entry.sample(96)
        (picture,) = sample.pictures()
        assert (picture.size, picture.mode) == ((96, 96), "RGB")
        assert picture.getpixel((0, 0)) == (245, 245, 245)
        for s in sample.images[0].scene.shapes:
            assert picture.getpixel((int(96 * s.x), int(96 * s.y))) == COLORS[s.color]


#: The area of a shape of radius 1, and whether it looks the same upside down.
AREAS = {
    "circle": (math.pi, True),
    "square": (1.7**2, True),
    "cross": (2 * 2 * 0.68 - 0.68**2, True),
    "diamond": (2.0, True),
    "triangle": (3 * math.sqrt(3) / 4, False),
    "star": (10 * 0.42 * math.sin(math.pi / 5) / 2, False),
}


@pytest.mark.parametrize("kind", SHAPES)
def test_shapes_have_the_area_and_the_symmetry_that_their_names_say(kind):
    area, upright = AREAS[kind]
    seen = np.asarray(Scene((Shape(kind, "red", 0.5, 0.5, 0.4),)).draw(200))
    inside = np.abs(seen.astype(int) - COLORS["red"]).sum(-1) < 60
    assert inside.sum() == pytest.approx(area * 80**2, rel=0.03)
    assert (inside != inside[:, ::-1]).mean() < 0.01
    assert ((inside != inside[::-1]).mean() < 0.01) == upright


def test_samples_are_values():
    samples = shapes_2d(6)
    assert pickle.loads(pickle.dumps(samples)) == samples
    assert len(set(samples)) == 6
    assert samples[0].images == (Drawn(next(entries(1)).scene, 224),)


def test_another_size_has_another_id_but_the_same_scene():
    (small,), (usual,) = shapes_2d(1, size=96), shapes_2d(1)
    assert small.images[0].scene == usual.images[0].scene
    assert small.id == usual.id + "-96px"


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"samples": 0}, DataError, "at least one"),
        ({"categories": ()}, DataError, "each category once"),
        ({"categories": ["count", "count"]}, DataError, "each category once"),
        ({"categories": "count"}, DataError, r"\('count',\)"),
        ({"categories": ["colour_abs"]}, UnknownNameError, "did you mean color_abs"),
        ({"split": "tests"}, UnknownNameError, "did you mean test"),
        ({"seed": -1}, DataError, "negative"),
        ({"size": 0}, DataError, "size"),
    ],
)
def test_bad_arguments_are_refused_with_advice(arguments, error, words):
    with pytest.raises(error, match=words):
        shapes_2d(**{"samples": 2, **arguments})


def test_load_knows_it_by_name():
    assert load("shapes-2d", samples=9, seed=2) == shapes_2d(9, seed=2)
    assert DATASETS["shapes-2d"] is shapes_2d


@pytest.mark.parametrize("data", ["shapes2d", "no/such/folder", __file__])
def test_load_says_what_there_is(data):
    with pytest.raises(DataError, match=r"no data set .*shapes-2d.*folder.*\.parquet"):
        load(data)


def test_load_leaves_the_number_to_the_data_set(monkeypatch):
    asked = []
    monkeypatch.setattr(datasets, "shapes_2d", lambda **given: asked.append(given) or [])
    load("shapes-2d", seed=4)
    assert asked == [{"seed": 4}]


def test_load_refuses_to_load_nothing():
    with pytest.raises(DataError, match="at least one"):
        load("shapes-2d", samples=0)
