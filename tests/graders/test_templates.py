"""Hundreds of phrasings of right and wrong answers for every rule, made from templates."""

from itertools import product

import pytest

from vlmlens.graders import GRADERS
from vlmlens.graders.yes_no import pope
from vlmlens.sample import Sample

LETTERS = "ABCDEFGH"
TEXTS = ("left", "right", "above", "below", "inside", "behind", "a red cube", "top left")
#: X is the letter, T the option's text.
ONE = (
    *("X", "(X)", "X.", "X)", "X) T", "X. T", "(X) T", "X: T", "**X**", "**X.** T", "`X`", "[X]"),
    *("The answer is X", "The answer is X.", "the answer is (X).", "The answer is: X", "Answer: X"),
    *("answer: X.", "Answer: (X) T", "The correct answer is X.", "The correct option is (X)."),
    *(
        "Option X",
        "option X.",
        "It is option X.",
        "I choose X.",
        "My answer is X.",
        "Final answer: X",
    ),
    *(
        "\\boxed{X}",
        "The best answer is **X**.",
        "So the answer is X.",
        "X, because I can see it there",
    ),
)
ORDERS = ("{a}", "\n {a} ")
#: Two at once, none, or what only looks like one.
NONE = ("", ".", "The", "I am not sure.", "X or Y", "X and Y", "(X) or (Y)", "Both X and Y", "X/Y")


def asked(place, count=8):
    letters = tuple(LETTERS[:count])
    return Sample("Where?", answer=letters[place], choices=letters, options=TEXTS[:count])


def rule(name, said, sample):
    return GRADERS[name](said, sample)


@pytest.mark.slow
def test_a_letter_is_taken_in_all_phrasings_and_every_letter_alike():
    tried = 0
    for form, order, count in product(ONE, ORDERS, (2, 5)):
        found = []
        for place in range(count):
            text = order.format(a=form.replace("X", LETTERS[place]).replace("T", TEXTS[place]))
            golds = [rule("letter", text, asked(gold, count)).score for gold in range(count)]
            found.append(golds == [float(gold == place) for gold in range(count)])
            tried += count
        assert all(found), (form, order, count, found)
    assert tried > 200


@pytest.mark.slow
def test_no_letter_is_taken_where_there_are_two_or_none():
    tried = 0
    for form, one, two in product(NONE, range(8), range(8)):
        if one == two:
            continue
        text = form.replace("X", LETTERS[one]).replace("Y", LETTERS[two])
        assert rule("letter", text, asked(one)).score == 0.0, text
        assert rule("letter", text, asked(two)).score == 0.0, text
        tried += 2
    assert tried > 200


@pytest.mark.slow
def test_options_are_taken_by_their_text():
    forms = ("T", "T.", "It is T.", "The answer is T.", "**T**", "Answer: T", '"T"')
    for form, (place, text), (_, other) in product(forms, enumerate(TEXTS), enumerate(TEXTS)):
        said = form.replace("T", text)
        graded = rule("letter", said, asked(place))
        assert (graded.score, graded.parsed) == (1.0, LETTERS[place]), said
        if other != text:
            assert rule("letter", said, asked(TEXTS.index(other))).score == 0.0, (said, other)


THINGS = ("dog", "red car", "person", "traffic light", "snowboard", "cup", "chair")
YES = (
    *("Yes", "yes", "YES", "Yes.", "yes.", "**Yes**", "Yes!", " Yes ", "Yes\n", "Answer: Yes"),
    *("The answer is yes.", "Yes, there is a T.", "Yes, it is.", "yes, a T is in the image"),
    *("Yes, and there is no mistaking it.", "Yes, I can see a T in the image."),
)
NO = (
    *("No", "no", "NO", "No.", "no.", "**No**", "No!", " No ", "No\n", "Answer: No"),
    *("The answer is no.", "No, there is no T.", "No, it is not.", "no, there is not a T"),
    *("No, I cannot see a T in the image.", "There is no T in the image."),
)
NEITHER = ("There is a T.", "I cannot tell.", "A T.", "", "Maybe.", "yes or no", "Yes/No", "T")


def yes_or_no(gold):
    return Sample("Is there a T?", answer=gold, choices=("yes", "no"))


@pytest.mark.parametrize(("said", "forms"), [("yes", YES), ("no", NO), ("", NEITHER)])
def test_yes_and_no(said, forms):
    for form, thing in product(forms, THINGS):
        text = form.replace("T", thing)
        for gold in ("yes", "no"):
            graded = rule("yes_no", text, yes_or_no(gold))
            assert graded.parsed == said, text
            assert graded.score == float(said == gold)


def test_yes_and_no_have_so_many_phrasings():
    assert len({f.replace("T", t) for f in (*YES, *NO, *NEITHER) for t in THINGS}) * 2 > 200


def test_popes_own_rule_is_its_three_words():
    """The first sentence without commas, split at blanks; everything else is yes."""
    words = ("No", "no", "not", "NO", "nope", "yes", "none", "knot")
    tried = 0
    for word, thing, form in product(
        words, THINGS, ("{w}", "{w}, a {t}", "a {t} is {w} here", "{t}. {w}")
    ):
        text = form.format(w=word, t=thing)
        first = text.split(".")[0].replace(",", "").split(" ")
        expected = "no" if {"No", "no", "not"} & {*first} else "yes"
        assert pope(text) == expected
        assert rule("pope", text, yes_or_no(expected)).score == 1.0
        tried += 1
    assert tried > 200


def test_exact_is_equal_but_for_case_and_a_full_stop():
    answers = (*THINGS, "yes", "no", "a cat", "left", "skateboard", "3", "gray", "to the left", "A")
    same = ("{a}", "{a}.", " {a}", "{a} ", "{a}..", "{a}\n", "\t{a}.")
    tried = 0
    for answer, form, case in product(answers, same, (str, str.upper, str.title)):
        sample = Sample("What?", answer=answer)
        assert rule("exact", case(form.format(a=answer)), sample).score == 1.0
        tried += 1
    for answer, form in product(
        answers, ("the {a} x", "{a}, yes", "not {a}", "{a}{a}", "{a}s", "")
    ):
        assert rule("exact", form.format(a=answer), Sample("What?", answer=answer)).score == 0.0
        tried += 1
    assert tried > 200


def test_vqa_counts_people_after_its_normalisation():
    """Three of ten are enough; articles, number words, punctuation and case do not count."""
    same = {
        "2": ("2", "two", "Two", "two.", "the two", "2 "),
        "net": ("net", "a net", "The net", "net.", "Net!", "an net"),
        "red and white": ("red and white", "Red and White", "the red and white", "red and white."),
        "dont know": ("don't know", "dont know", "Don't know."),
    }
    counts, tried = (0, 1, 2, 3, 4, 10), 0
    for (gold, forms), count in product(same.items(), counts):
        people = tuple([gold] * count + ["zzz", "yyy"] * 5)[:10]
        sample = Sample("What?", answer=gold, references=people)
        expected = sum(min(1, (count - (n < count)) / 3) for n in range(10)) / 10
        for form, case in product(forms, (str, str.upper, str.capitalize)):
            if len(set(people)) == 1 and case(form).strip() != gold:
                continue  # where all people say the same, punctuation and articles stay
            assert rule("vqa", case(form), sample).score == pytest.approx(expected), form
            tried += 1
    assert tried > 200


def test_contains_is_the_words_in_a_row():
    around = ("{a}", "It is {a}.", "I see {a} there", "The {a}", "**{a}**", "({a})", "well, {a}!")
    answers = (*THINGS, "left", "top left", "two", "12", "blue", "cross", "star")
    tried = 0
    for answer, form, other in product(answers, around, answers):
        text = form.format(a=answer)
        words, wanted = answer.split(), other.split()
        size = len(wanted)
        held = any(words[n : n + size] == wanted for n in range(len(words)))
        assert rule("contains", text, Sample("?", answer=other)).score == float(held), (text, other)
        tried += 1
    assert tried > 200


def test_a_number_is_that_number_and_no_other():
    words = {
        0: "zero",
        1: "one",
        2: "two",
        3: "three",
        12: "twelve",
        20: "twenty",
        21: "twenty-one",
    }
    around = ("{n}", "{n}.", "There are {n}.", "{n} dogs", "Answer: {n}", "**{n}**", "I count {n}")
    tried = 0
    for (value, word), form, other in product(words.items(), around, (*words, -1, 3.5, 120)):
        for said in (str(value), word):
            graded = rule("number", form.format(n=said), Sample("How many?", answer=f"{other:g}"))
            assert graded.score == float(value == other), (form.format(n=said), other)
            tried += 1
    for text in ("", "none of them", "2 or 3", "between 2 and 3", "3.5", "-3", "1/3", "3 of 4"):
        assert rule("number", text, Sample("How many?", answer="3")).score == 0.0, text
    assert tried > 200


@pytest.mark.parametrize(
    ("said", "parsed"),
    [
        ("not 3", ""),
        ("It is not 3.", ""),
        ("not 4 but 3", "3"),
        ("3, not 4", "3"),
        ("It isn't 4, it's 3", "3"),
        ("4 is wrong. 3", "3"),
        ("I am not sure, 3", "3"),
        ("neither 3 nor 4", ""),
        ("No, 3", "3"),
        ("3 or 4", ""),
    ],
)
def test_a_number_that_is_denied_is_not_said(said, parsed):
    graded = GRADERS["number"](said, Sample("How many?", answer="3"))
    assert (graded.parsed, graded.score) == (parsed, parsed == "3")
