"""The fixed rule by which answers are graded: every letter alike, no choice for another."""

import re
from string import ascii_uppercase as LETTERS

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlmlens.errors import InputError
from vlmlens.graders import grade, named, plain, right_choice, same
from vlmlens.graders.letter import LETTER
from vlmlens.sample import Sample

#: Ways to say a letter: L and l are the letter, T and t the text that it stands for.
FORMS = (
    *("L", "L.", "(L)", "[L]", "L)", "l", "l)", "(l)", "l.", "**L**", "**L.** t", "'L'", '"L"'),
    *("L. t", "L: t", "(L) t", "(l) T", "L - t", "L) t.", "L\nIt is so.", "L, because it is so"),
    *("Answer: L", "Answer:L", "answer: l", "Answer: (l)", "The answer is (l)", "The answer is L."),
    *("The correct answer is: **L**", "Option L", "option l", "Choice L: t", "It is L.", "It's L"),
    *("I think L", "Option L seems right", "The answer is option (L) t."),
)
TEXTS = tuple(f"thing {letter.lower() * 2}" for letter in LETTERS)
CHOICES = {
    "letters": tuple(LETTERS),
    "in brackets": tuple(f"({letter.lower()})" for letter in LETTERS),
    "texts": TEXTS,
    "both": tuple(f"({a.lower()}) {t}" for a, t in zip(LETTERS, TEXTS, strict=True)),
    "with stops": tuple(f"{a}. {t}" for a, t in zip(LETTERS, TEXTS, strict=True)),
    "no choices": (),
}


def said(form, n):
    """A form with its letter and text in place of the L, l, T and t that stand alone."""
    words = {"L": LETTERS[n], "l": LETTERS[n].lower(), "T": TEXTS[n].title(), "t": TEXTS[n]}
    return re.sub(r"(?<![A-Za-z'])[LlTt](?![A-Za-z])|(?<=')L(?=')", lambda m: words[m[0]], form)


def golds(kind, n):
    among = CHOICES[kind]
    found = [LETTERS[n], f"({LETTERS[n].lower()})", f"{LETTERS[n]}."]
    found += [among[n]] if among else []
    return found + ([TEXTS[n]] if kind in ("texts", "both", "with stops") else [])


@pytest.mark.slow
@pytest.mark.parametrize("kind", CHOICES)
@pytest.mark.parametrize("form", FORMS)
def test_no_letter_suffers(form, kind):
    for n in range(len(LETTERS)):
        for gold in golds(kind, n)[:: 1 if n < 2 else 3]:
            assert grade(said(form, n), gold, CHOICES[kind]), (said(form, n), gold)
        assert not grade(said(form, (n + 3) % 26), LETTERS[n], CHOICES[kind])


@pytest.mark.parametrize("kind", CHOICES)
@pytest.mark.parametrize("nothing", ["", " ", ".", "?!", "\n", "...", "the", "The", "an", "An."])
def test_silence_is_never_right(nothing, kind):
    for n in (0, 1, 8, 25):
        assert not any(grade(nothing, gold, CHOICES[kind]) for gold in golds(kind, n))


@pytest.mark.parametrize("gold", ["red", "3", "yes", "no", "top left", "I", "", "+"])
@pytest.mark.parametrize("nothing", ["", " ", ".", "the", "a", "an"])
def test_silence_is_right_for_no_text_either(nothing, gold):
    assert not grade(nothing, gold)


@pytest.mark.parametrize("kind", [kind for kind in CHOICES if kind != "no choices"])
@pytest.mark.parametrize("hedge", ["{} or {}", "{} and {}", "{}, {}", "{}/{}", "either {} or {}"])
def test_two_letters_are_no_answer(hedge, kind):
    for n in (0, 1, 8, 20):
        text = hedge.format(LETTERS[n], LETTERS[(n + 5) % 26])
        assert not any(grade(text, gold, CHOICES[kind]) for gold in golds(kind, n))
        assert not any(grade(text, gold, CHOICES[kind]) for gold in golds(kind, (n + 5) % 26))


def test_an_article_is_no_letter():
    assert not grade("A red circle", "A", ("blue", "red"))
    assert grade("A red circle", "red", ("blue", "red"))
    assert not grade("The answer is a dog", "A", tuple("ABCD"))
    assert not grade("I do not know", "I", tuple(LETTERS))


word = st.sampled_from(["red", "dark", "top", "left", "1", "11", "no", "not", "sure", "blue"])
phrase = st.lists(word, min_size=1, max_size=3, unique=True).map(" ".join)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.lists(phrase, min_size=2, max_size=4, unique=True), st.sampled_from(["{}", "{}.", "{}!"]))
def test_a_choice_is_itself_and_no_other(choices, form):
    """Also where one holds another's words, at whatever end."""
    for one in choices:
        right = [other for other in choices if grade(form.format(one), other, choices)]
        assert right == [one]


@settings(max_examples=100, deadline=None)
@given(phrase, phrase, st.sampled_from(["{} or {}", "{}/{}"]))
def test_a_hedge_is_wrong_with_choices_and_without(one, other, hedge):
    choices = () if one == other else (one, other)
    assert not grade(hedge.format(one, other), one, choices)
    assert not grade(hedge.format(one, other), other, choices)


@settings(max_examples=100, deadline=None)
@given(st.integers(-10_000, 10_000), st.integers(-10_000, 10_000))
def test_a_number_is_that_number(one, other):
    for form in ("{}", "{:,}", "{}.0", "{} dogs", "There are {}.", "about {:,} of them"):
        assert grade(form.format(one), str(other)) is (one == other)
    if one != other:
        assert not grade(f"{one} to {other}", str(one))
        assert not grade(f"{one} {other}", str(other))


@pytest.mark.parametrize(
    ("words", "digits"),
    [
        ("zero", "0"),
        ("two", "2"),
        ("Twelve", "12"),
        ("twenty-one", "21"),
        ("thirty", "30"),
        ("two hundred and five", "205"),
        ("three thousand", "3000"),
        ("a hundred", "100"),
        ("a million and two", "1000002"),
        ("2.5 thousand", "2500"),
        ("minus one", "-1"),
        ("\N{MINUS SIGN}1", "-1"),
        ("3.50", "3.5"),
    ],
)
def test_numbers_in_letters(words, digits):
    assert grade(words, digits)
    assert grade(digits, words)
    assert plain(words) == digits
    assert plain(f"there are {words} dogs") == f"there are {digits} dogs"


@pytest.mark.parametrize(
    ("answer", "gold", "choices", "right"),
    [
        ("red", "red", (), True),
        ("Red.", "red", (), True),
        (" the RED\n", "red", (), True),
        ("a red circle", "red circle", (), True),
        ("It is on the left.", "left", ("left", "right"), True),
        ("left or right", "left", ("left", "right"), False),
        ("right", "left", ("left", "right"), False),
        ("The circle is red.", "red", (), True),
        ("It is bright.", "right", ("left", "right"), False),  # words, not letters
        ("no", "yes", ("yes", "no"), False),
        ("yes", "yes", ("yes", "no"), True),
        ("Yes, a dog.", "yes", (), True),
        ("yes and no", "yes", (), False),
        ("yes and no", "no", ("yes", "no"), False),
        ("Yes, there is no doubt.", "yes", ("yes", "no"), True),
        ("There is no dog.", "no", ("yes", "no"), True),
        ("not sure", "no", ("no", "not sure"), False),
        ("No, a dog", "dog", (), True),
        ("There is no dog", "dog", (), False),
        ("", "red", ("red", "blue"), False),
        ("anything", "", (), False),
        ("the red circle, not the blue one", "red circle", ("red circle", "blue square"), True),
        ("red circle and blue square", "red circle", ("red circle", "blue square"), False),
        ("blue square", "blue", ("blue", "blue square"), False),  # it names the other choice
        ("top left", "left", ("left", "top left"), False),
        ("dark red", "red", ("red", "dark red"), False),
        ("dark red", "red", (), True),
        ("left, not right", "left", ("left", "right"), True),
        ("It is not on the left", "left", ("left", "right"), False),
        ("It isn't red", "red", (), False),
        ("B, not A", "B", tuple("ABCD"), True),
        ("red or orange", "red", ("red", "blue"), False),
        ("red and blue", "red", (), False),
        ("blue, red", "red", (), False),
        ("It is a cat and a dog", "dog", (), False),
        ("red, white and blue", "red, white and blue", (), True),
        ("3", "3", ("2", "3"), True),
        ("13", "3", ("2", "3"), False),
        ("3.5", "3", (), False),
        ("-1", "1", ("1", "-1"), False),
        ("3rd", "3", (), False),
        ("1/2", "1", (), False),
        ("10:30", "10", (), False),
        ("two, the red one and the blue one", "2", (), True),
        ("dogs", "dog", (), False),  # words are compared as they are
        ("A. right", "right", ("left", "right"), False),  # the letter of one, the text of other
        ("cat", "A", ("cat", "dog"), True),
        ("C#", "C++", ("C++", "C#"), False),
        ("C#", "C#", ("C++", "C#"), True),
        ("+", "+", ("+", "-"), True),
        ("-", "+", ("+", "-"), False),
        ("vitamin C", "vitamin C", ("vitamin C", "vitamin D", "iron"), True),
    ],
)
def test_answers_are_graded_by_a_fixed_rule(answer, gold, choices, right):
    assert grade(answer, gold, choices) is right


def test_plain_answers():
    assert plain("  The Red, RED-ish  circle! ") == "red red ish circle"
    assert plain("An a the") == ""


@pytest.mark.parametrize(
    ("gold", "choices", "place"),
    [
        ("left", ("left", "right"), 0),
        ("Right.", ("left", "right"), 1),
        ("b", ("left", "right"), 1),
        ("B. right", ("left", "right"), 1),
        ("B. left", ("left", "right"), None),
        ("c", ("left", "right"), None),
        ("up", ("left", "right"), None),
        ("(a)", ("(a) Open", "(b) Closed"), 0),
        ("Closed", ("(a) Open", "(b) Closed"), 1),
        ("two", ("1", "2"), 1),
        ("B", ("A. Lincoln", "Washington"), 1),  # initials are no labels
        ("a", ("Washington", "A. Lincoln"), 0),
        ("B", ("A. Lincoln", "A. Johnson"), 1),
        ("red", (), None),
    ],
)
def test_which_choice_an_answer_is(gold, choices, place):
    assert right_choice(gold, choices) == place


LANGUAGES = ("C", "C++", "C#", "Java")


@pytest.mark.parametrize(
    ("choices", "form"),
    [
        (LANGUAGES, "{}"),
        (LANGUAGES, "It is {}."),
        (LANGUAGES, "**{}**"),
        (LANGUAGES[:2], "I would say {}, since it is"),
        (("A", "A+", "B", "B+"), "It is {}."),
        (("30", "30%", "$30"), "It costs {}."),
        (("A. C", "B. C++", "C. C#"), "{}"),
        (("A. Java", "B. C++", "C. C#"), "The answer is {}."),
        (("A. C", "B. C++"), "The answer is {}."),
        (("e-mail", "e mail"), "an {}"),
    ],
)
def test_choices_that_signs_tell_apart_are_known_by_their_signs(choices, form):
    """Each names itself and no other, in either case."""
    for said in choices:
        told = [grade(form.format(said), gold, choices) for gold in choices]
        assert told == [gold == said for gold in choices], said
        assert told == [grade(form.format(said.lower()), gold, choices) for gold in choices]
        assert right_choice(said, choices) == choices.index(said)


@pytest.mark.parametrize(
    ("said", "gold", "choices", "right"),
    [
        ("C++, not C", "C++", LANGUAGES, True),
        ("C or C++", "C", LANGUAGES, False),
        ("C--", "C", ("C", "C++", "C--"), False),
        ("C+", "C", LANGUAGES, False),  # none of them
        ("Java", "C", LANGUAGES, False),
        ("B", "C#", ("C++", "C#"), True),  # by its place, as ever
        ("B", "C++", LANGUAGES, False),  # where one is a letter, there are no places
        ("from 30% to 40%", "30%", ("30", "30%"), False),
        ("C++", "C", (), True),  # nothing to tell it apart from
        ("B. C++", "A", ("A. C", "B. C++"), False),
        ("B", "B. C++", ("A. C", "B. C++"), True),
        ("C++", "C", ("A. C", "B. C++", "C. Java"), False),
        ("C++", "B", ("A. C", "B. C++", "C. Java"), True),
        ("C", "C", ("A. C", "B. C++", "C. Java"), True),  # the letter
        ("C++", "B", ("A. C", "B. C++"), True),
        ("the left.", "left", ("left", "right"), True),
    ],
)
def test_signs_beside_choices_that_they_tell_apart(said, gold, choices, right):
    assert grade(said, gold, choices) is right


def test_what_is_named_and_graded_of_choices_with_signs():
    asked = Sample("Which?", answer="A", choices=("A", "B"), options=("C", "C++"))
    found = LETTER("It is C++.", asked)
    assert (found.score, found.parsed, found.state) == (0.0, "B", "parsed")
    assert LETTER("It is C.", asked).score == 1
    assert named("C++ and C#", LANGUAGES) == {1, 2}


@pytest.mark.parametrize("choices", [None, 3, "ABCD", ("A", None)])
def test_choices_that_are_no_texts_are_refused(choices):
    with pytest.raises(InputError, match="text"):
        grade("A", "A", choices)


def test_two_answers_are_the_same_one():
    assert same("Red.", "a red")
    assert same("two", "2")
    assert not same("red circle", "red")  # a longer answer is another one
    assert same("", " ") and not same("", "red") and not same("+", "-")
