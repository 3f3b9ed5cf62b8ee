"""Rules of published sets, on answers whose grades are known."""

import pytest

from vlmlens.graders.exact import EXACT
from vlmlens.graders.vqa import VQA, soft_accuracy, unpunctuated, unworded
from vlmlens.graders.yes_no import POPE_OWN, YES_NO, pope, strict
from vlmlens.sample import Sample

#: What is said; what POPE's own rule takes it for; what the strict rule does.
SAID = [
    ("yes", "yes", ("yes", "parsed")),
    ("Yes.", "yes", ("yes", "parsed")),
    ("Yes, there is a dog.", "yes", ("yes", "parsed")),
    ("There is no dog in the image.", "no", ("no", "parsed")),
    ("There is a dog.", "yes", ("", "unparsed")),
    ("I cannot tell.", "yes", ("", "unparsed")),
    ("NO", "yes", ("no", "parsed")),
    ("Yes, it is not a cat.", "no", ("yes", "parsed")),
    ("", "yes", ("", "unparsed")),
    ("...", "yes", ("", "unparsed")),
    ("No, there is not.", "no", ("no", "parsed")),
    ("yes or no", "no", ("", "ambiguous")),
    ("Yes and no", "no", ("", "ambiguous")),
    ("It is not yes", "no", ("", "ambiguous")),
    ("True", "yes", ("yes", "parsed")),
    ("The answer is false.", "yes", ("no", "parsed")),
    ("nothing", "yes", ("", "unparsed")),
]


@pytest.mark.parametrize(("said", "own", "ours"), SAID)
def test_yes_or_no(said, own, ours):
    assert pope(said) == own
    assert strict(said) == ours
    for gold in ("yes", "no"):
        sample = Sample("Is there a dog?", answer=gold, choices=("yes", "no"))
        assert POPE_OWN(said, sample).score == (own == gold)
        assert YES_NO(said, sample).score == (ours[0] == gold)


@pytest.mark.parametrize(
    ("said", "gold", "right"),
    [("Woman.", "woman", 1), ("a woman", "woman", 0), ("", "", 0), (" left. ", "left", 1)],
)
def test_equal_but_for_case_and_full_stop(said, gold, right):
    assert EXACT(said, Sample("q", answer=gold)).score == right


TEN = ["net"] * 8 + ["netting"] * 2


@pytest.mark.parametrize(
    ("said", "references", "score"),
    [
        ("net", TEN, 1.0),
        ("Net.", TEN, 1.0),
        ("netting", TEN, (8 * 2 + 2 * 1) / 3 / 10),  # two of the other nine, or one
        ("goal", TEN, 0.0),
        ("yes", ["yes"] * 10, 1.0),
        ("Yes.", ["yes"] * 10, 0.0),  # unpunctuated only where people differ, as officially
        ("two", ["2"] * 9 + ["3"], 1.0),
        ("the dog", ["dog"] * 5 + ["cat"] * 5, 1.0),
        ("dont know", ["don't know"] * 4 + ["no"] * 6, 1.0),
        ("net", [], 0.0),
    ],
)
def test_soft_accuracy(said, references, score):
    assert soft_accuracy(said, references)[0] == pytest.approx(score)
    graded = VQA(said, Sample("q", references=tuple(references)))
    assert graded.score == pytest.approx(score)


def test_words_and_signs_are_normalised_as_officially():
    assert unpunctuated("a, b") == "a b"
    assert unpunctuated("a,b") == "a b"
    assert unpunctuated("1,000") == "1000"
    assert unpunctuated("3.5 m.") == "3.5 m"
    assert unworded("The Ten couldnt've An") == "10 couldn't've"
    assert unworded("none") == "0"
    assert unworded("its theyre") == "its they're"
    assert unpunctuated("." * 40) == "." * 8
