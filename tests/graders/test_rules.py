"""Rules of published sets, on answers whose grades are known."""

import pytest

from vlmlens.errors import DataError, InputError
from vlmlens.graders import GRADERS, Graded, Rule, judge
from vlmlens.graders.contains import CONTAINS
from vlmlens.graders.exact import EXACT
from vlmlens.graders.letter import LETTER
from vlmlens.graders.number import NUMBER
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


WORDS = ("left", "top left", "a red ball", "3", "not sure", "butterfly", "both", "no")
#: How people and models name an option.
NAMED = (
    "{letter}", "({letter})", "{letter}.", "{letter})", "{letter}. {text}", "({letter}) {text}",
    "**{letter}**", "The answer is {letter}", "The answer is ({letter}).", "Answer: {letter}",
    "answer: ({letter})", "Option {letter}", "{letter}: {text}", "{text}", "{text}.",
    "The answer is {letter}. {text}.", "My choice is {letter}.", "`{letter}`", " {letter} \n",
)  # fmt: skip


def lettered(gold, letter="{}"):
    """A question whose choices are letters; the options are their texts."""
    letters = tuple(letter.format(one) for one in "ABCDEFGH")
    return Sample("Which?", (), letters[gold], letters, options=WORDS)


@pytest.mark.slow
@pytest.mark.parametrize("said", NAMED)
@pytest.mark.parametrize("form", ["{}", "({})"])
def test_no_letter_is_graded_otherwise_than_another(said, form):
    for gold, (letter, text) in enumerate(zip("ABCDEFGH", WORDS, strict=True)):
        answer = said.format(letter=letter, text=text)
        for other in range(len(WORDS)):
            graded = LETTER(answer, lettered(other, form))
            assert (graded.score, graded.state) == (other == gold, "parsed"), (answer, other)
            assert graded.parsed == form.format(letter)


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("", "unparsed"), (".", "unparsed"), ("The", "unparsed"), ("I cannot tell", "unparsed"),
        ("A or B", "ambiguous"), ("B and C", "ambiguous"), ("(A) or (C)", "ambiguous"),
        ("left or 3", "ambiguous"), ("Z", "unparsed"),
    ],
)  # fmt: skip
def test_two_at_once_and_none_are_wrong_and_said_to_be(said, state):
    for gold in range(len(WORDS)):
        graded = LETTER(said, lettered(gold))
        assert (graded.score, graded.parsed, graded.state) == (0.0, "", state)


@pytest.mark.parametrize(
    ("rule", "said", "gold", "right", "state"),
    [
        (CONTAINS, "I see a dog there", "dog", 1, "parsed"),
        (CONTAINS, "I see a hotdog", "dog", 0, "parsed"),
        (CONTAINS, "the red, round ball", "red round ball", 1, "parsed"),
        (CONTAINS, "", "dog", 0, "unparsed"),
        (CONTAINS, "dog", "", 0, "parsed"),
        (NUMBER, "There are three.", "3", 1, "parsed"),
        (NUMBER, "3.5", "3", 0, "parsed"),
        (NUMBER, "2 or 3", "3", 0, "ambiguous"),
        (NUMBER, "many", "3", 0, "unparsed"),
        (NUMBER, "-1", "1", 0, "parsed"),
        (NUMBER, "1,000", "1000", 1, "parsed"),
    ],
)
def test_words_and_numbers(rule, said, gold, right, state):
    graded = rule(said, Sample("q", answer=gold))
    assert (graded.score, graded.state) == (right, state)


def test_a_judge_of_ones_own():
    rule = judge(lambda said, sample: sample.answer in said, "inside")
    assert rule("a dog!", Sample("q", answer="dog")).score == 1.0
    assert rule.label == "inside/1"
    with pytest.raises(InputError, match="says 'yes'"):
        judge(lambda said, sample: "yes", "wordy")("dog", Sample("q"))


def test_every_rule_has_its_name_once():
    assert list(GRADERS) == [rule.name for rule in GRADERS.values()]
    assert {
        "exact",
        "letter",
        "yes_no",
        "pope",
        "vqa",
        "contains",
        "number",
        "spatial_bench",
    } == set(GRADERS)


@pytest.mark.parametrize(
    ("name", "sample", "told"),
    [
        ("yes_no", Sample("Which?", answer="A", choices=("A", "B"), id="7"), "'7': .* yes and no"),
        ("pope", Sample("Which?", answer="left"), "knows yes and no, and 'left' is right"),
        ("number", Sample("Which?", answer="left"), "knows numbers, and 'left' is right"),
        ("number", Sample("How many?", answer=""), "knows numbers"),
        ("vqa", Sample("Which?", answer="left"), "the answers of several people"),
    ],
)
def test_a_rule_says_what_it_can_never_find_right(name, sample, told):
    """Such a sample would be wrong whatever is said."""
    for said in (sample.answer, "yes", "no", "3", "left"):
        assert GRADERS[name](said, sample).score == 0.0
    with pytest.raises(DataError, match=told):
        GRADERS[name].refuse([sample])
    GRADERS[name].refuse([Sample("Nobody knows?")])


@pytest.mark.parametrize(
    ("name", "answer"),
    [("yes_no", "Yes."), ("yes_no", "true"), ("pope", "no"), ("number", "two"), ("number", "3.0"),
     ("letter", "A"), ("exact", "left"), ("contains", "left"), ("spatial_bench", "left")],
)  # fmt: skip
def test_what_a_rule_grades_it_does_not_refuse(name, answer):
    sample = Sample("Which?", answer=answer)
    GRADERS[name].refuse([sample])
    assert GRADERS[name](answer, sample).score == 1.0 or answer == "true"


@pytest.mark.parametrize("score", [7.0, -1.0, float("nan")])
def test_a_rule_gives_grades_from_0_to_1(score):
    for rule in (judge(lambda said, sample: Graded(score, said), "mine"),
                 Rule("mine", 1, lambda said, sample: Graded(score, said))):  # fmt: skip
        with pytest.raises(InputError, match="from 0 to 1"):
            rule("a", Sample("q", answer="a"))
