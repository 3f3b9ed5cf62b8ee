"""A letter that is followed, or preceded, by an explanation is that letter, whichever it is."""

from itertools import product

import pytest
from conftest import by_turns

from vlmlens.graders import GRADERS, grade, named
from vlmlens.sample import Sample

LETTERS, TEXTS = "ABCDE", ("left", "right", "above", "below", "top left")
#: X is the letter, T its text, U the text of another option.
EXPLAINED = (
    *("The answer is X. The fork is U of it.", "Answer: X. The fork is on the U of the plate."),
    *("X. T. The fork is to the U.", "X\n\nThe cup is T; the plate is U.", "X) T\nThe fork is U."),
    *("(X) T - because the plate is on the U", "X. T, since the plate is on the U of the cup"),
    *("X. The cup is U the shelf but T of the plate.", "**X**\n\nThe plate is on the U side."),
    *("The cup is U the table and T of the plate. Answer: X", "It is not U. So the answer is X."),
    *("The plate is on the U, the cup is not. Therefore, X.", "Option X. The other one is U."),
    *("X: T\nReason: the other one is U", "The plate is U. The answer is (X) T."),
)
#: Two that contradict each other.
TORN = (
    *("X. U", "(X) U", "X: U", "X) U", "X or U", "U or X", "X, U", "The answer is X or U."),
    *("X. T, U", "X. T or U", "It is U. X", "X and U", "T. U."),
)


def asked(gold, form="{}"):
    letters = tuple(form.format(letter) for letter in LETTERS)
    return Sample("Where?", answer=letters[gold], choices=letters, options=TEXTS)


def said_of(form, place, other):
    text = form.replace("X", "\0").replace("U", TEXTS[other]).replace("T", "\1")
    text = text.replace("\1he", "The").replace("\1", TEXTS[place])
    return text.replace("\0", LETTERS[place])


@pytest.mark.slow
@pytest.mark.parametrize("form", by_turns(["{}", "({})"], ["{}"]))
def test_what_explains_a_letter_is_no_other_answer(form):
    tried = 0
    for said, place, other in product(EXPLAINED, range(5), range(5)):
        if TEXTS[other] in TEXTS[place] or TEXTS[place] in TEXTS[other]:
            continue
        text = said_of(said, place, other)
        for gold in range(5):
            graded = GRADERS["letter"](text, asked(gold, form))
            assert (graded.score, graded.state) == (gold == place, "parsed"), (text, gold)
            tried += 1
    assert tried >= 200


def test_a_letter_and_another_options_words_are_two_answers():
    tried = 0
    for said, place, other in product(TORN, range(4), range(4)):
        if place == other:
            continue
        text = said_of(said, place, other)
        for gold in (place, other):
            assert GRADERS["letter"](text, asked(gold)).score == 0.0, (text, gold)
            tried += 1
    assert tried >= 200


def test_words_settle_nothing_where_no_letter_is_asked_for():
    """Of choices that are places, the words of two are two answers."""
    places = TEXTS[:4]
    for one, other in product(places, places):
        text = f"{one}. The fork is {other}."
        assert grade(text, one, places) == (one == other)
        assert named(text, places) == {places.index(one), places.index(other)}


#: A letter that the option's own words introduce. X is the letter, T the option's text.
INTRODUCED = (
    *("It is T, so the answer is X.", "It is T, which means that the answer is X."),
    *("The cup is T, therefore I choose X", "It is to the T, making the answer (X)."),
    *("The cup is T, so it must be option X.", "T, that is X", "It is T and therefore X is right."),
    *("Since it is T, the answer is X.", "It is T, i.e. X.", "It is T, hence option X"),
)


@pytest.mark.parametrize("form", INTRODUCED)
@pytest.mark.parametrize(
    "texts", [("left", "right", "above"), ("3", "2", "1"), ("yes", "no", "some")]
)
def test_a_letter_that_its_own_words_introduce_is_the_answer(form, texts):
    letters = tuple("ABC")
    for gold, said in product(range(3), range(3)):
        answer = form.replace("X", letters[said]).replace("T", texts[said])
        lettered = Sample("q", answer=letters[gold], choices=letters, options=texts)
        plain = Sample("q", answer=texts[gold], choices=texts)
        other = form.replace("X", letters[said]).replace("T", texts[said - 1])
        for sample in (lettered, plain):
            assert GRADERS["letter"](answer, sample).score == (gold == said), answer
        if texts[0] == "left":  # a letter and another option's words are two answers
            assert GRADERS["letter"](other, plain).score == 0, other
