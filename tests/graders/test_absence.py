"""What is said not to be there is a no; what only sounds like it is none. POPE's rule stays."""

from itertools import product

import pytest

from vlmlens.graders import GRADERS
from vlmlens.sample import Sample

THINGS = (("a", "dog", "dogs"), ("an", "umbrella", "umbrellas"), ("a", "traffic light", None))
#: {n} stands for "not" in every writing, {t} for the thing.
ABSENT = (
    *(
        "There is{n} {t}.",
        "There is{n} {t} in the image.",
        "there is{n} {t} here",
        "There was{n} {t} visible.",
    ),
    *("There does{n} appear to be {t} in this picture.", "There does{n} seem to be {t}."),
    *("I do{n} see {t}.", "I do{n} see {t} in the image.", "I could{n} find {t} in the photo."),
    *("We can{n} see {t} here.", "One could{n} spot {t} anywhere in the scene."),
    *(
        "The image does{n} contain {t}.",
        "This picture does{n} show {t}.",
        "I think there is{n} {t}.",
    ),
    *("Based on the image, there is{n} {t}.", "There is{n} {t}, but there is a cat."),
    *(
        "The image shows a cat on a sofa. There is{n} {t} in it.",
        "There is{n} {t}. I see two cats.",
    ),
)
NOT = (" not", "n't", "n’t")
#: The same words about something else, a part of the picture, unsure, or taken back.
NOTHING = (
    *("There isn't a cat.", "There isn't {t} on the left.", "I can't see {t} clearly."),
    *("I don't see {t}, but there might be one.", "I don't see {t}. It is unclear.", "I see {t}."),
    *(
        "I don't think there isn't {t}.",
        "There isn't {t}, there are two.",
        "If there isn't {t}, why?",
    ),
    *(
        "I see {t} in the mirror but I don't see {t} on the floor.",
        "There isn't enough information.",
    ),
    *("There isn't any way to tell.", "I don't see any image.", "I don't see any reason to doubt."),
    *("I can't see the image.", "There isn't a single answer.", "I cannot tell."),
    *("There is no image provided.", "No image was uploaded.", "There is no image.", "No answer."),
)


def asked(thing, article="a", gold="no"):
    question = f"Is there {article} {thing} in the image?"
    return Sample(question, answer=gold, choices=("yes", "no"))


def test_what_is_not_there_is_a_no_in_all_writings():
    tried = 0
    for (article, one, many), form, no in product(THINGS, ABSENT, NOT):
        for thing in (f"{article} {one}", f"any {one}", *([f"any {many}"] if many else [])):
            said = form.format(n=no, t=thing)
            for gold in ("yes", "no"):
                graded = GRADERS["yes_no"](said, asked(one, article, gold))
                assert (graded.parsed, graded.score) == ("no", gold == "no"), said
                tried += 1
    assert tried > 400


@pytest.mark.parametrize("form", NOTHING)
def test_what_is_about_something_else_or_unsure_says_nothing(form):
    for article, one, _ in THINGS:
        said = form.format(t=f"{article} {one}")
        assert GRADERS["yes_no"](said, asked(one, article)).state == "unparsed", said


def test_popes_rule_is_as_published_whatever_the_general_one_learns():
    """Of the first sentence; "n't" is no word of its own, and everything else is yes."""
    for said, own in (
        ("There isn't a dog.", "yes"),
        ("There is not a dog.", "no"),
        ("I don't see any dogs.", "yes"),
        ("No. 5", "no"),
        ("There is no image provided.", "no"),
    ):
        assert GRADERS["pope"](said, asked("dog")).parsed == own


@pytest.mark.parametrize(
    ("said", "state"),
    [
        *((said, "unparsed") for said in ("No. 5", "no.5", "No. 5 is on it", "No. 7,")),
        *((said, "parsed") for said in ("No. 5 dogs are there.", "No.\n1. A cat", "No.")),
        *((said, "parsed") for said in ("No, 5", "No 5", "No. 1) It shows a cat", "No; No. 5")),
    ],
)  # fmt: skip
def test_the_number_of_something_is_no_no(said, state):
    assert GRADERS["yes_no"](said, asked("dog")).state == state
