"""Questions in the words of those who ask them: AdaptVis's of What'sUp, BLINK's disclaimers."""

import json

import pytest
from published_files import PUBLISHED, put, whole

from vlmlens.datasets.benchmarks import BENCHMARKS
from vlmlens.datasets.benchmarks.where import PLACES, where
from vlmlens.errors import DataError
from vlmlens.sample import Sample

#: A split, a right caption, and what AdaptVis asks of such a picture (its files of prompts).
ASKED = [
    ("coco-one", "A photo of a dining table on the bottom", "is the dining table in the photo"),
    ("coco-one", "A photo of a TV on the left", "is the TV in the photo"),
    ("coco-two", "A photo of a person above a bowl", "is the person in relation to the bowl"),
    (
        "coco-two",
        "A photo of a couch to the left of a chair",
        "is the couch in relation to the chair",
    ),
    ("vg-one", "A photo of the mushrooms at the bottom", "are the mushrooms in the photo"),
    ("vg-one", "A photo of people in the front", "are the people in the photo"),
    ("vg-two", "A photo of the desk in front of the chair", "is the desk in relation to the chair"),
    ("vg-two", "A photo of the man behind the bus", "is the man in relation to the bus"),
]
ANSWERS = ["bottom", "left", "above", "left", "bottom", "front", "front", "behind"]
LISTED = {
    "a": "left, right, on or under",
    "b": "left, right, front or behind",
    "coco-one": "left, right, top or bottom",
    "coco-two": "left, right, above or below",
    "vg-one": "left, right, front, behind, top or bottom",
    "vg-two": "left, right, front, behind, above or below",
}


@pytest.mark.parametrize(("asked", "answer"), list(zip(ASKED, ANSWERS, strict=True)))
def test_a_caption_becomes_a_question(asked, answer):
    split, caption, words = asked
    made = where(Sample("Which?", answer=caption, choices=(caption, "no")), split)
    assert made.question == f"Where {words}? Answer with {LISTED[split]}."
    assert (made.answer, made.choices) == (answer, PLACES[split])


def test_controlled_pictures_are_asked_about_by_the_names_of_their_files(tmp_path):
    PUBLISHED["whatsup, a"][3](tmp_path)
    found = BENCHMARKS["whatsup"].load(tmp_path, "a", "where")
    assert {sample.question for sample in found} == {
        "Where is the beer bottle in relation to the armchair? "
        "Answer with left, right, on or under."
    }
    assert [sample.answer for sample in found] == ["left", "right", "on", "under"]
    assert {sample.form for sample in found} == {"whatsup/where"}
    assert {sample.unit for sample in found} == {"set"}
    glasses = "data/controlled_images/sunglasses_in-front_of_tape.jpeg"
    put(tmp_path, glasses)
    captions = ["Sunglasses in front of a tape", *"abc"]
    whole(
        tmp_path / "controlled_clevr_dataset.json",
        [{"image_path": glasses, "caption_options": captions}],
    )
    (sample,) = BENCHMARKS["whatsup"].load(tmp_path, "b", "where")
    assert sample.question.startswith("Where are the sunglasses in relation to the tape? Answer")
    assert sample.answer == "front" and sample.choices == PLACES["b"]


@pytest.mark.parametrize("split", ["coco-one", "coco-two"])
def test_a_caption_without_a_place_is_refused_in_that_form_only(split, tmp_path):
    put(tmp_path, "val2017/000000000007.jpg")
    file = f"coco_qa_{split[5:]}_obj.json"
    (tmp_path / file).write_text(json.dumps([[7, "A photo of a cat", "A photo of a dog"]]))
    bench = BENCHMARKS["whatsup"]
    assert len(bench.load(tmp_path, split)) == 1
    with pytest.raises(DataError, match="'A photo of a cat' says nothing of left, right"):
        bench.load(tmp_path, split, "where")


@pytest.mark.parametrize("form", ["own", "without-disclaimer"])
def test_blink_is_asked_in_its_own_words(form, tmp_path):
    """Its column ``prompt`` as it is; before tasks that models refuse stands its disclaimer."""
    PUBLISHED["blink"][3](tmp_path)
    spatial, jigsaw = BENCHMARKS["blink"].load(tmp_path, "all", form)
    words = "Is the car beneath the cat?\nSelect from the following choices.\n(A) yes\n(B) no"
    assert spatial.question == words
    assert (spatial.answer, spatial.choices, spatial.options) == (
        "(B)",
        ("(A)", "(B)"),
        ("yes", "no"),
    )
    own = "Given the first image with one part missing, which one fits?\nSelect from the following "
    own += "choices.\n(A) the second image\n(B) the third image"
    before = jigsaw.question.removesuffix(own)
    assert before != jigsaw.question
    assert before.startswith("Disclaimer: This is not to make unfair") == (form == "own")
    assert before.endswith("based on the information I gave you.\n\n") == (form == "own")
    assert bool(before) == (form == "own")
