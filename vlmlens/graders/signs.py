"""Choices that only signs tell apart, as "C" and "C++": each is known by its exact text."""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from string import ascii_lowercase

from vlmlens.graders.words import is_numeric, read, readable


@dataclass(frozen=True)
class Signs:
    """Texts that are the same words, and the one word that stands for each of them instead.

    Attributes:
        words: by the place of the text; other texts have none.
    """

    words: dict[int, str]
    _stand_in: dict[str, str] = field(repr=False)
    _exact: re.Pattern[str] | None = field(repr=False)

    def told(self, said: str) -> str:
        """A ``readable`` text with that word wherever one of the texts stands by itself."""
        if self._exact is None:
            return said
        return self._exact.sub(self._instead, said)

    def _instead(self, found: re.Match[str]) -> str:
        return self._stand_in.get(found[0].casefold(), found[0])


@lru_cache(maxsize=4096)
def signs(texts: tuple[str, ...], labels: frozenset[str] = frozenset()) -> Signs:
    """What tells texts apart whose words are the same; nothing where no two are so.

    Upper and lower case make no difference, as elsewhere. A text that is a label, such as the C of
    "A. C" beside "B. C++" and "C. C#", keeps its word: it says that label.
    """
    exact = [readable(text).strip().casefold() for text in texts]
    words = [tuple(word.text for word in read(text)) for text in exact]
    alike: dict[tuple[str, ...], set[str]] = {}
    for text, said in zip(exact, words, strict=True):
        alike.setdefault(said, set()).add(text)
    stand_in = {
        text: f"{said[0].lstrip('-')[0] if is_numeric(said[0]) else ''}zq{_letters(at)}"
        for at, (text, said) in enumerate(zip(exact, words, strict=True))
        if said and len(alike[said]) > 1 and text.upper() not in labels
    }
    if not stand_in:
        return Signs({}, {}, None)
    telling = "".join(sorted(set(re.sub(r"[\w\s]", "", "".join(stand_in)))))
    patterns = (_standing(text, telling) for text in sorted(stand_in, key=len, reverse=True))
    return Signs(
        {at: stand_in[text] for at, text in enumerate(exact) if text in stand_in},
        stand_in,
        re.compile("|".join(patterns), re.IGNORECASE),
    )


def _letters(at: int) -> str:
    """A number in letters, which no number is read from."""
    return "".join(ascii_lowercase[int(digit)] for digit in str(at))


def _standing(text: str, telling: str) -> str:
    """The text with no letter, digit or telling sign right before or after it."""
    beside = ["[^\\W_]", *([f"[{re.escape(telling)}]"] if telling else [])]
    number = ("(?<![.,:/-])" * text[0].isdigit(), "(?![.,:/-]\\d)" * text[-1].isdigit())
    before, after = ("".join(f"({way}{one})" for one in beside) for way in ("?<!", "?!"))
    return f"{before}{number[0]}{re.escape(text)}{after}{number[1]}"
