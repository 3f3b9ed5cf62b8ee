"""Options that stand in a text, and letters that name one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlmlens.datasets.benchmarks.letters import chosen, options
from vlmlens.errors import DataError

LETTERS = "ABCDEFGH"


@pytest.mark.parametrize(
    ("text", "question", "found"),
    [
        ("(a) Open (b) Closed", "", ("Open", "Closed")),
        ("Where is it?\nA. left\nB. right", "Where is it?", ("left", "right")),
        ("Which?\n(A) 3\n(B) 2\n(C) 10", "Which?", ("3", "2", "10")),
        ("Is it A. or not?", "Is it A. or not?", ()),
        ("Which?\n\nA. One.\nB. Two.\nPlease answer with a letter.", "Which?", ("One.", "Two.")),
        ("Which? A: a cat, B: a dog", "Which?", ("a cat", "a dog")),
        ("Plan B. is better.\nA. yes\nB. no", "Plan B. is better.", ("yes", "no")),
        ("No options at all (see C).", "No options at all (see C).", ()),
    ],
)
def test_options_of_a_text(text, question, found):
    assert options(text) == (question, found)


WORDS = st.text("abcdefgh ", min_size=1, max_size=12).map(str.strip).filter(bool)


@pytest.mark.parametrize("style", ["({}) {}", "{}. {}", "{}: {}"])
@given(texts=st.lists(WORDS, min_size=2, max_size=8))
def test_what_is_listed_is_found_again(style, texts):
    lines = [style.format(letter, text) for letter, text in zip(LETTERS, texts, strict=False)]
    assert options("Which one?\n" + "\n".join(lines)) == ("Which one?", tuple(texts))


@pytest.mark.parametrize("form", ["{}", "({})", "{}.", "{})", " {} "])
@pytest.mark.parametrize("place", range(8))
def test_every_letter_names_its_option(form, place):
    choices = tuple(f"option {n}" for n in range(8))
    for letter in (LETTERS[place], LETTERS[place].lower()):
        assert chosen(form.format(letter), choices, "row 1") == choices[place]


@pytest.mark.parametrize("letter", ["", "I", "AB", "1", "(?)"])
def test_what_names_no_option(letter):
    with pytest.raises(DataError, match="names none of 8"):
        chosen(letter, ("x",) * 8, "row 1")
