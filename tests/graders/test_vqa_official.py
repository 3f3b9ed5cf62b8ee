"""VQA's soft accuracy against its published definition, written here once more, on random words."""

import re

import numpy as np
import pytest

from vlmlens.graders import GRADERS
from vlmlens.sample import Sample

#: As the evaluation that comes with the set does it: which signs, which words.
PUNCTUATION = [";", "/", "[", "]", '"', "{", "}", "(", ")", "=", "+", "\\", "_", "-", ">", "<", "@",
               "`", ",", "?", "!"]  # fmt: skip
DIGITS = {"zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7}
DIGITS |= {"eight": 8, "nine": 9, "ten": 10, "none": 0}
REPAIRED = {"dont": "don't", "isnt": "isn't", "couldnt've": "couldn't've"}
REPAIRED |= {"somebody'd": "somebodyd", "twas": "'twas", "its": "its", "theyre": "they're"}


def without_signs(text):
    made = text
    for sign in PUNCTUATION:
        touches = any(pair in text for pair in (f"{sign} ", f" {sign}"))
        thousands = re.search(r"\d,\d", text)
        made = "".join(made.split(sign)) if touches or thousands else " ".join(made.split(sign))
    return re.sub(r"\.(?!\d)", "", made, count=32)


def without_articles(text):
    words = []
    for word in text.lower().split():
        word = str(DIGITS.get(word, word))
        if word not in ("a", "an", "the"):
            words.append(REPAIRED.get(word, word))
    return " ".join(words)


def official(said, people):
    """For each person: a third for each of the nine others who said so, at most 1; the mean."""
    said, people = (said.strip(), [one.strip() for one in people])
    if len({*people}) > 1:
        said, *people = (without_articles(without_signs(one)) for one in (said, *people))
    each = [
        min(sum(other == said for k, other in enumerate(people) if k != n) / 3, 1)
        for n in range(len(people))
    ]
    return sum(each) / len(each)


WORDS = ("a", "the", "two", "2", "ten", "none", "0", "net", "nets", "red", "dont", "don't", "1,000",
         "1000", "3.5", "couldnt've", "somebody'd", "twas", "its", "theyre", "an")  # fmt: skip
SIGNS = ("", "", "", ".", "!", ",", "-", " - ", "/", "?", " ,", "...", "'s", "(", ") ")


@pytest.mark.parametrize("seed", range(8))
def test_it_is_the_published_accuracy(seed):
    rng = np.random.default_rng(seed)

    def phrase(size):
        return " ".join(f"{rng.choice(WORDS)}{rng.choice(SIGNS)}" for _ in range(size))

    scores = []
    for _ in range(100):
        told = [phrase(rng.integers(1, 3)) for _ in range(rng.integers(1, 4))]
        people = [str(rng.choice(told)) for _ in range(10)]
        said = str(rng.choice([*told, phrase(1), phrase(2), told[0].upper(), f"the {told[0]}."]))
        expected = official(said, people)
        found = GRADERS["vqa"](said, Sample("What?", references=tuple(people)))
        assert found.score == pytest.approx(expected), (said, people)
        scores.append(expected)
    assert len(set(scores)) > 5 and 0.2 < np.mean(scores) < 0.9


def test_leaving_one_out_is_what_three_people_in_ten_are_worth():
    """0, .3, .6, .9 and 1 for none, one, two, three and more who said the same."""
    for count, expected in enumerate((0.0, 0.3, 0.6, 0.9, 1.0, 1.0)):
        people = ("net",) * count + tuple(f"other {n}" for n in range(10 - count))
        graded = GRADERS["vqa"]("Net.", Sample("What?", references=people))
        assert graded.score == pytest.approx(expected)
