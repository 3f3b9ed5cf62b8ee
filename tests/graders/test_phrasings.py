"""The ways in which people and models say one answer: all alike, for every letter and text."""

import pytest
from as_users import as_users

from vlmlens.errors import InputError
from vlmlens.graders import GRADERS, grade
from vlmlens.sample import Sample

#: X is the letter that is right, Y one that is not.
SAYS_X = (
    *(
        "<answer>X</answer>",
        "<b>X</b>",
        "X</answer>",
        "<|begin|>X<|end|>",
        "\\boxed{X}",
        "$\\text{X}$",
    ),
    *(
        "Therefore, X",
        "Honestly, X",
        "X, I think",
        "X I think",
        "The right answer is 'X'",
        "X it is",
    ),
    *(
        "X is right.",
        "X seems right",
        "The right option is X.",
        "X would be correct",
        "X fits best",
    ),
    *(
        "X for sure",
        "I'd go with X here",
        "Looks like X to me",
        "X :)",
        "X \N{WHITE HEAVY CHECK MARK}",
    ),
    *("Y is wrong, so X", "Y is not correct. X.", "It can't be Y. It must be X.", "X instead of Y"),
    *("X rather than Y", "Not Y but X", "The answer is X\u3002", "\u3010X\u3011", "\uff08X\uff09"),
    *(
        "X~",
        "X#",
        "~X~",
        "~~X~~",
        "X%",
        "@X",
        "X only",
        "Only X.",
        "X alone",
        "X not Y",
        "Not Y. X",
    ),
    *(
        "X is correct, Y is not",
        "X, i.e., the ball",
        "\u9009X",
        "\u7b54\u6848\u662fX\u3002",
        "\u9009X\u9879",
    ),
    *("<think>Y? Z!</think>X", "<think>\nY.\n</think>\n\n(X)", "Y or Z.</think>\nX"),
    *("Y is small. <answer>X</answer>", "Y and Z are not, so \\boxed{X}", "\\boxed{\\text{(X)}}"),
    *('{"answer": "X"}', "answer=X", "_X_", "```\nX\n```", "> X", "Ans: X", "I would choose X"),
)
SAYS_NOTHING = (
    *(
        "X Y",
        "X Y Z",
        "X;Y",
        "X,Y",
        "X|Y",
        "X+Y",
        "X-Y",
        "X vs Y",
        "Both X and Y",
        "X\nY",
        "(X)(Y)",
    ),
    *("X over Y", "<think>X", "<answer></answer> X", "<answer>X</answer> <answer>Y</answer>"),
    *("X is incorrect", "X isn't right", "X.Y.", "anything, not X", "Y X"),
)
#: Choices, and what the right answer is called among them.
AMONG = {
    "letters": (tuple("ABCDEFGH"), "{}"),
    "in brackets": (tuple(f"({a})" for a in "ABCDEFGH"), "({})"),
    "places": (
        *(("left", "right", "above", "below", "inside", "behind", "under", "top left"),),
        None,
    ),
    "free": ((), "{}"),
}


@pytest.mark.parametrize("among", AMONG)
@pytest.mark.parametrize("form", SAYS_X)
def test_one_letter_is_said(form, among):
    choices, name = AMONG[among]
    for n, letter in enumerate("ABCDEFGH"):
        other = "ABCDEFGH"[n - 3]
        said = form.replace("X", letter).replace("Y", other).replace("Z", "ABCDEFGH"[n - 5])
        golds = [choices[i] if name is None else name.format("ABCDEFGH"[i]) for i in (n, n - 3)]
        assert grade(said, golds[0], choices), said
        assert not grade(said, golds[1], choices), said


@pytest.mark.parametrize("among", AMONG)
@pytest.mark.parametrize("form", SAYS_NOTHING)
def test_several_letters_and_denied_ones_are_none(form, among):
    choices, name = AMONG[among]
    for n, letter in enumerate("ABCDEFGH"):
        said = form
        for sign, to in zip("XYZ", (letter, "ABCDEFGH"[n - 3], "ABCDEFGH"[n - 5]), strict=True):
            said = said.replace(sign, to)
        for i in (n, n - 3):
            gold = choices[i] if name is None else name.format("ABCDEFGH"[i])
            assert not grade(said, gold, choices), (said, gold)


PLACES = ("left", "right", "above", "below")


@pytest.mark.parametrize(
    ("said", "gold"),
    [
        ("The right answer is left", "left"),
        ("The right answer is right", "right"),
        ("It's right above the box", "above"),
        ("right below", "below"),
        ("on the right above the box", ""),
        ("to the right", "right"),
        ("Right.", "right"),
        ("None of the above", ""),
        ("All of the above", ""),
        ("Above.", "above"),
        ("left rather than right", "left"),
        ("left instead of right", "left"),
        ("Certainly, left.", "left"),
        ("left\u3002", "left"),
    ],
)
def test_a_place_is_one_where_a_place_is_meant(said, gold):
    assert [place for place in PLACES if grade(said, place, PLACES)] == [gold] * bool(gold)


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("3 million", "3000000"),
        ("1.5 million", "1500000"),
        ("two dozen", "24"),
        ("a hundred", "100"),
        ("one hundred and one", "101"),
        ("\u20133", "-3"),
        ("\u22123", "-3"),
        ("minus 3", "-3"),
        ("\N{FULLWIDTH DIGIT THREE}", "3"),
        ("\N{VULGAR FRACTION ONE HALF}", "1/2"),
        ("1\N{VULGAR FRACTION ONE HALF}", ""),
        ("3\N{SUPERSCRIPT TWO}", ""),
        ("There are twenty. One is red.", "20"),
        ("twenty-one", "21"),
        ("twenty, one of them red", "20"),
        ("The one on the left", ""),
        ("one", "1"),
        ("<answer>7</answer>", "7"),
        ("2\u20133", ""),
        ("3cm", "3"),
        ("3 cm", "3"),
        ("3.5cm", ""),
        ("3.5k", ""),
        ("3.5x", ""),
        ("1,500.0kg", "1500"),
        ("3-5cm", ""),
        ("3:30pm", ""),
        ("v1.3", ""),
        ("1e-3", ""),
        ("1.5e6", "1500000"),
        ("3D", ""),
        ("3rd", ""),
        ("1\u202f500", "1500"),
        ("1\u00a0500\u00a0000", "1500000"),
        ("1'500", "1500"),
        ("half", ""),
        ("one half", "1/2"),
        ("two thirds", ""),
        ("two and a half", ""),
        ("two, and a half of it is red", ""),
        ("half a dozen", ""),
        ("three point five", ""),
        ("one and a half million", "1500000"),
        ("3%", "3"),
        ("\u56fe\u4e2d\u67093\u53ea\u732b", "3"),
    ],
)
def test_a_number_is_that_number_in_all_writings(said, number):
    golds = (
        "3",
        "-3",
        "1",
        "1500",
        "10",
        "20",
        "21",
        "24",
        "32",
        "2",
        "100",
        "101",
        "1500000",
        "3000000",
        "7",
    )
    golds += ("1/2", "11/2")
    assert [gold for gold in golds if grade(said, gold)] == [number] * bool(number)


@pytest.mark.parametrize(
    ("said", "answer", "state"),
    [
        ("yes/no", "", "ambiguous"),
        ("Yes, no", "", "ambiguous"),
        ("Yes, there is no cat", "yes", "parsed"),
        ("\uff39\uff45\uff53", "yes", "parsed"),
        ("<answer>No</answer>", "no", "parsed"),
        ("**Yes.**", "yes", "parsed"),
        ("<think>No?</think> Yes", "yes", "parsed"),
        ("There is no doubt: yes", "yes", "parsed"),
        ("I have no idea", "", "unparsed"),
        ("No way to tell", "", "unparsed"),
        ("No way.", "no", "parsed"),
        ("It is not no", "", "ambiguous"),
        ("That's not false", "", "ambiguous"),
    ],
)
@pytest.mark.parametrize("full_stop", ["", "."])
def test_yes_and_no_in_all_writings(said, answer, state, full_stop):
    for gold in ("yes", "no"):
        sample = Sample("Is there a dog?", answer=gold.title() + full_stop)
        graded = GRADERS["yes_no"](said, sample)
        assert (graded.score, graded.parsed, graded.state) == (answer == gold, answer, state)
        assert grade(said, gold) <= (answer == gold)


@pytest.mark.parametrize(
    "given", [(None, "A", ()), ("A", None, ()), ("A", "A", (1, 2)), ("A", "A", "AB")]
)
def test_what_is_no_text_is_refused(given):
    with as_users(), pytest.raises(InputError, match="text"):
        grade(*given)
