"""Words of an answer: case, punctuation, articles and ways to write a number made alike."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

ARTICLES = ("a", "an", "the")
_UNITS = [
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
    *("eighteen", "nineteen"),
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SMALL = {word: n for n, word in enumerate(_UNITS)} | {
    word: 10 * n for n, word in enumerate(_TENS, 2)
}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 1_000_000}
# Digits joined by a sign are one number, date, time or range: "3.5" and "2-3" hold no "3".
_TOKEN = re.compile(
    r"(?P<number>(?<![\w.])-?(?:\d+(?:[.,:/-]\d+)*|\.\d+)(?!\w))|(?P<word>[^\W_]+)"
    r"|(?P<stop>[.;:!?\n])|(?P<comma>,)|(?P<or>/)|(?P<and>&)"
)


@dataclass(frozen=True)
class Word:
    """A word of an answer.

    Attributes:
        text: in lower case; a number in digits.
        start: where it begins in the text that was read.
        end: where it ends there.
        clause: counts the full stops, colons, question marks before it.
        comma: whether a comma is right before it.
        spelled: whether it is a number in letters.
    """

    text: str
    start: int
    end: int
    clause: int = 0
    comma: bool = False
    spelled: bool = False


def readable(text: str) -> str:
    """The text in one way to write letters, signs and negations."""
    text = unicodedata.normalize("NFKC", text).replace("\N{MINUS SIGN}", "-")
    return re.sub(r"n['’]t\b", " not", text)


def read(text: str) -> list[Word]:
    """The words of a ``readable`` text, articles included."""
    found: list[Word] = []
    clause, comma = 0, False
    for token in _TOKEN.finditer(text):
        kind = token.lastgroup or ""
        if kind in ("stop", "comma"):
            clause, comma = clause + (kind == "stop"), True
            continue
        said = {"number": _digits(token[0]), "word": token[0].casefold()}.get(kind, kind)
        found.append(Word(said, token.start(), token.end(), clause, comma))
        comma = False
    return _spelled(found)


def plain(answer: str) -> str:
    """An answer without case, punctuation, articles and spare spaces; numbers in digits."""
    return " ".join(w.text for w in read(readable(answer)) if w.text not in ARTICLES)


def is_number(text: str) -> bool:
    """Whether a word is a number."""
    return bool(re.fullmatch(r"-?\d+(\.\d+)?", text))


def _digits(text: str) -> str:
    """1,000 is 1000, and 3.0 is 3; what is no number (1/2, 10:30) stays."""
    if re.fullmatch(r"-?\d{1,3}(,\d{3})+(\.\d+)?", text):
        text = text.replace(",", "")
    if not re.fullmatch(r"-?\d*\.?\d+", text):
        return text
    return f"{Decimal(text).normalize() + 0:f}"


def _spelled(words: Sequence[Word]) -> list[Word]:
    """Numbers in letters made one word in digits, a sign in letters with it."""
    made: list[Word] = []
    at = 0
    while at < len(words):
        value, end = _number(words, at)
        if end > at:
            first, last = words[at], words[end - 1]
            made.append(
                Word(str(value), first.start, last.end, first.clause, first.comma, spelled=True)
            )
        else:
            made.append(words[at])
            end = at + 1
        if len(made) > 1 and made[-2].text in ("minus", "negative") and is_number(made[-1].text):
            number, sign = made.pop(), made.pop()
            text = number.text.removeprefix("-") if number.text != "0" else "0"
            text = f"-{text}" if text != "0" else text
            made.append(Word(text, sign.start, number.end, sign.clause, sign.comma, True))
        at = end
    return made


def _number(words: Sequence[Word], at: int) -> tuple[int, int]:
    """The number in letters that begins at a word, and where it ends: there if there is none."""
    value, end = _small(words, at)
    if end == at:
        return 0, at
    while end < len(words) and words[end].text in _SCALES:
        value, end = value * _SCALES[words[end].text], end + 1
        joined = end + (end < len(words) and words[end].text == "and")
        more, after = _small(words, joined)
        if after > joined and not (after < len(words) and words[after].text in _SCALES):
            value, end = value + more, after
    return value, end


def _small(words: Sequence[Word], at: int) -> tuple[int, int]:
    """A number below a hundred in letters, and where it ends."""
    if at >= len(words) or words[at].text not in _SMALL:
        return 0, at
    value, end = _SMALL[words[at].text], at + 1
    if value >= 20 and end < len(words) and words[end].text in _UNITS[1:10]:
        return value + _SMALL[words[end].text], end + 1
    return value, end
