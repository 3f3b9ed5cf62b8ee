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
_SCALES = {"hundred": 100, "thousand": 1000, "million": 1_000_000, "dozen": 12}
# Digits joined by a sign are one number, date, time or range: "3.5" and "2-3" hold no "3".
_TOKEN = re.compile(
    r"(?P<number>(?<![\w.])-?(?:\d+(?:[.,:/-]\d+)*|\.\d+)(?!\w))|(?P<word>[^\W_]+)"
    r"|(?P<stop>[.;:!?。\n])|(?P<comma>[,、])|(?P<or>/)|(?P<and>&)"
)
#: Other signs for a minus, and the stroke of a fraction.
_SIGNS = {ord(sign): "-" for sign in "\u2010\u2012\u2013\u2212"} | {0x2044: "/"}
#: Between a digit and a raised or lowered one, or a fraction, which are no more digits of it.
_RAISED = re.compile(r"(?<=\d)(?=[\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u2089\u2150-\u215e])")
#: Text between tags ("<answer>B</answer>"); what closes an answer, and other tokens of a template.
_TAGS = re.compile(r"<([A-Za-z]\w*)>([^<>]*)</\1>")
_MARKS = re.compile(r"</[A-Za-z]\w*>|<\|[^<>|]*\|>")
#: "The one on the left" is no number.
_POINTING = ("the", "this", "that", "which", "each", "every", "any", "another", "other")


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
    """The text in one way to write letters, signs and negations, without the tags around it."""
    text = unicodedata.normalize("NFKC", _RAISED.sub(" ", text)).translate(_SIGNS)
    while (bare := _TAGS.sub(r"\2 ", text)) != text:
        text = bare
    return re.sub(r"n['’]t\b", " not", _MARKS.sub(" ", text))


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
    """An answer without case, punctuation, articles and spare spaces; numbers in digits.

    Example:
        >>> from vlmlens.graders import plain
        >>> plain("The  Two dogs."), plain("42!")
        ('2 dogs', '42')
    """
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
                Word(
                    _digits(f"{value:f}"), *(first.start, last.end, first.clause, first.comma), True
                )
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


def _number(words: Sequence[Word], at: int) -> tuple[Decimal, int]:
    """The number that begins at a word and is not digits alone, and where it ends: there if none.

    "One" after a word that points ("the one on the left") is none.
    """
    value, end = _small(words, at)
    if end == at and _scaled(words, at + 1):
        if is_number(words[at].text):  # "3 million"
            value, end = Decimal(words[at].text), at + 1
        elif words[at].text == "a":
            value, end = Decimal(1), at + 1
    pointed = at > 0 and words[at - 1].text in _POINTING and words[at].text == "one"
    if end == at or (pointed and not _scaled(words, end)):
        return Decimal(0), at
    while _scaled(words, end):
        value, end = value * _SCALES[words[end].text], end + 1
        joined = end + (end < len(words) and words[end].text == "and")
        more, after = _small(words, joined)
        if after > joined and not words[joined].comma and not _scaled(words, after):
            value, end = value + more, after
    return value, end


def _small(words: Sequence[Word], at: int) -> tuple[Decimal, int]:
    """A number below a hundred in letters, and where it ends."""
    if at >= len(words) or words[at].text not in _SMALL:
        return Decimal(0), at
    value, end = Decimal(_SMALL[words[at].text]), at + 1
    following = words[end].text if end < len(words) and not words[end].comma else ""
    if value >= 20 and following in _UNITS[1:10]:
        return value + _SMALL[following], end + 1
    return value, end


def _scaled(words: Sequence[Word], at: int) -> bool:
    """Whether a word multiplies the number before it."""
    return at < len(words) and words[at].text in _SCALES and not words[at].comma
