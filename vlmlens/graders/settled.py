"""A letter that is given for the answer settles it: what follows explains, and names no other."""

from collections.abc import Sequence
from dataclasses import dataclass

from vlmlens.graders.words import Word

#: What stands before a letter that ends a chain of thought.
_SO = ("answer", "option", "choice", "so", "therefore", "thus", "hence")


@dataclass(frozen=True)
class Mention:
    """Words of an answer that name an option: from ``start`` until ``end``.

    Attributes:
        option: its place among the options.
        start: of its words.
        end: of them.
        lettered: whether it is named by its letter.
    """

    option: int
    start: int
    end: int
    lettered: bool = False


def settled(words: Sequence[Word], mentions: Sequence[Mention]) -> list[Mention]:
    """The mentions without those that only explain a letter.

    Where one letter is named and no other: "A. The plate is on the right.", "(A) left, since the
    plate is on the right", "It is above the table. Answer: A". A letter before another option's
    words ("A. right") settles nothing.
    """
    letters = [m for m in mentions if m.lettered]
    if len({m.option for m in letters}) != 1:
        return list(mentions)
    one = letters[0]
    beside = next((m for m in mentions if m.start == one.end), None)
    if beside is not None and beside.option != one.option:
        return list(mentions)
    sentence = words[one.start].clause
    ends = any(w.text in _SO for w in words[max(one.start - 3, 0) : one.start])

    def explains(m: Mention) -> bool:
        if m.start > one.start:
            return beside is not None or words[m.start].clause > sentence
        return ends and words[m.start].clause < sentence

    return [m for m in mentions if m.lettered or m is beside or not explains(m)]
