"""Options: what a question may be answered with, each by its letter and by its text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from string import ascii_uppercase

from vlmlens.graders.signs import Signs, signs
from vlmlens.graders.words import ARTICLES, plain, read, readable

_ALONE = re.compile(r"[\s()\[\]{}<>.,:;*_`'\"]*([A-Za-z])[\s()\[\]{}<>.,:;*_`'\"]*")
_LABELLED = re.compile(r"\W*([A-Za-z])(?:\s*[)\]]\s*|[.:]\s+)(\S.*)", re.DOTALL)
OPPOSITE = {"yes": "no", "no": "yes"}


@dataclass(frozen=True)
class Option:
    """One answer that could be given.

    Attributes:
        letter: that stands for it, in upper case; empty for none.
        text: its words without articles; empty where the letter is all there is.
    """

    letter: str
    text: tuple[str, ...]


def options(gold: str, choices: Sequence[str] = ()) -> tuple[tuple[Option, ...], frozenset[int]]:
    """What could be answered, and which of these are right.

    Choices that are letters, or all begin with one ("(a) Open"), have these; others have theirs by
    their place: A is the first. Without choices a right answer that is a letter is one of A to Z,
    and yes has no beside it.
    """
    return _options(gold, tuple(choices))


@lru_cache(maxsize=4096)
def _options(gold: str, choices: tuple[str, ...]) -> tuple[tuple[Option, ...], frozenset[int]]:
    if not choices:
        return _free(gold)
    split = [_parts(choice) for choice in choices]
    own = [letter for letter, _ in split]
    if not any(text == "" for _, text in split) and (
        "" in own or len(set(own)) < len(own)  # "A. Lincoln" beside "Washington" is no label
    ):
        split = [("", choice) for choice in choices]
        own = [""] * len(choices)
    if not any(own) and len(choices) <= len(ascii_uppercase):
        own = list(ascii_uppercase[: len(choices)])
    found = [Option(a, _words(text)) for a, (_, text) in zip(own, split, strict=True)]
    apart = told_apart(choices)
    for n, word in apart.words.items():
        letter = found[n].letter if split[n][1] else ""  # the C of "C", beside "C++"
        found[n] = Option(letter, (word,))
    right = _index(gold, choices, found, apart)
    if not right:
        letter, text = _parts(apart.told(readable(gold)))
        found.append(Option("" if letter in own else letter, _words(text)))
        right = {len(found) - 1}
    return tuple(found), frozenset(right)


def told_apart(choices: Sequence[str]) -> Signs:
    """What tells choices apart whose words are the same, but for the letters they begin with."""
    if not begin_with_letters(choices):
        return signs(tuple(choices))
    split = [_parts(choice) for choice in choices]
    texts = tuple(text or choice for (_, text), choice in zip(split, choices, strict=True))
    return signs(texts, frozenset(letter for letter, _ in split))


def right_choice(gold: str, choices: Sequence[str]) -> int | None:
    """Which of the choices an answer is, given by its text or by its letter; None for none.

    Examples:
        >>> from vlmlens.graders import right_choice
        >>> right_choice("B", ["left", "right"]), right_choice("left", ["left", "right"])
        (1, 0)
        >>> right_choice("above", ["left", "right"]) is None
        True
    """
    found, right = options(gold, choices)
    first = min(right)
    return first if first < len(choices) and len(found) == len(choices) else None


def begin_with_letters(choices: Sequence[str]) -> bool:
    """Whether every choice is a letter, or begins with one that no other has."""
    own = [_parts(choice)[0] for choice in choices]
    return bool(own) and all(own) and len(set(own)) == len(own)


def _index(gold: str, choices: tuple[str, ...], found: Sequence[Option], apart: Signs) -> set[int]:
    told = apart.told(readable(gold))
    same = [n for n in range(len(choices)) if n not in apart.words and plain(choices[n])]
    for alike in (
        lambda n: choices[n].strip() == gold.strip(),
        lambda n: n in same and plain(choices[n]) == plain(gold),
        lambda n: bool(found[n].text) and found[n].text == _words(told),
        lambda n: bool(found[n].letter) and Option(*_option(told)) == found[n],
        lambda n: found[n].letter == _letter(gold) != "",
    ):
        if right := {n for n in range(len(choices)) if alike(n)}:
            return right
    return set()


def _free(gold: str) -> tuple[tuple[Option, ...], frozenset[int]]:
    letter, text = _parts(gold)
    words = _words(text)
    if letter:
        others = [Option(a, ()) for a in ascii_uppercase if a != letter]
        return (Option(letter, words), *others), frozenset({0})
    found = [Option("", words)]
    if len(words) == 1 and words[0] in OPPOSITE:
        found.append(Option("", (OPPOSITE[words[0]],)))
    return tuple(found), frozenset({0})


def _parts(text: str) -> tuple[str, str]:
    """The letter that a text is or begins with, and the rest of it."""
    if letter := _letter(text):
        return letter, ""
    if labelled := _LABELLED.fullmatch(text):
        return labelled[1].upper(), labelled[2]
    return "", text


def _option(text: str) -> tuple[str, tuple[str, ...]]:
    letter, rest = _parts(text)
    return letter, _words(rest)


def _letter(text: str) -> str:
    alone = _ALONE.fullmatch(readable(text))
    return alone[1].upper() if alone else ""


def _words(text: str) -> tuple[str, ...]:
    words = [w.text for w in read(readable(text))]
    return tuple(w for w in words if w not in ARTICLES) or tuple(words)
