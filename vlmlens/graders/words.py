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
_PARTS = {"half": 2, "halves": 2, "third": 3, "fifth": 5, "sixth": 6, "eighth": 8, "tenth": 10}
_PARTS |= {f"{part}s": n for part, n in _PARTS.items() if part.endswith(("d", "h"))}
#: What may be written right after a number and is no part of it: "3cm", "3.5kg", "10:30am".
_MEASURES = "mm|cm|m|km|in|ft|yd|mg|g|kg|lbs?|oz|ml|l|ms|s|min|hr?s?|am|pm|px|deg|mph|pct|percent"
# Digits joined by a sign are one number, date, time or range: "3.5" and "2-3" hold no "3", with
# letters after them ("3.5k", "2-3rd") neither.
_TOKEN = re.compile(
    r"(?P<number>(?<![\w.])-?(?:\d++(?:[.,:/-]\d++)*+|\.\d++)(?:[eE][+-]?\d++)?+"
    rf"(?!(?!(?:{_MEASURES})(?![^\W_]))\w))"
    r"|(?P<word>[^\W_]+(?:(?<=\d)[.,:/-](?=\d)[^\W_]+|(?<=\d[eE])[+-](?=\d)[^\W_]+)*)"
    r"|(?P<stop>[.;:!?。\n])|(?P<comma>[,、])|(?P<or>/)|(?P<and>&)"
)
#: Other signs for a minus, and the stroke of a fraction.
_SIGNS = {ord(sign): "-" for sign in "\u2010\u2012\u2013\u2212"} | {0x2044: "/"}
#: Between a digit and a raised or lowered one, or a fraction, which are no more digits of it.
_RAISED = re.compile(r"(?<=\d)(?=[\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u2089\u2150-\u215e])")
#: Between groups of three digits: "1 000" with a space that does not break, "1'000".
_GROUPS = re.compile(r"(?<=\d)[\u00a0\u2009\u202f'\u2019](?=\d{3}(?!\d))")
#: What a model thinks before it answers, where a template began it, and where it was cut off.
_THOUGHT = re.compile(
    r"<(think|thinking|thought|reasoning)>.*?</\1>|^.*</(?:think|thinking|thought|reasoning)>"
    r"|<(?:think|thinking|thought|reasoning)>.*$",
    re.IGNORECASE | re.DOTALL,
)
#: What is marked as the answer: then nothing else is.
_MARKED = (
    re.compile(r"<answer>(.*?)</answer>", re.IGNORECASE | re.DOTALL),
    re.compile(r"\\boxed\{((?:[^{}]|\{[^{}]*\})*)\}"),
)
#: Text between tags ("<b>B</b>"); what closes an answer, other tokens of a template, "that is".
_TAGS = re.compile(r"<([A-Za-z]\w*)>([^<>]*)</\1>")
_MARKS = re.compile(r"</[A-Za-z]\w*>|<\|[^<>|]*\|>|\b(?:i\.e|e\.g)\.,?")
#: Between a script that writes no spaces and letters or digits of ours.
SCRIPTS = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_JOINED = re.compile(f"(?<=[{SCRIPTS}])(?=[A-Za-z0-9])|(?<=[A-Za-z0-9])(?=[{SCRIPTS}])")
#: What "no" stands before where it answers nothing: also where the model lacks the picture.
NO_ANSWER = re.compile(
    r"(?:idea|clue|doubt|answer|information|way\s+(?:of|to)|(?:image|picture|photo)s?\s+"
    r"(?:(?:is|are|was|were|has|have|been)\s+){0,2}"
    r"(?:given|provided|attached|uploaded|shared|available|included))\b|images?\s*(?:$|[.,;!\n])",
    re.IGNORECASE,
)
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
    r"""The text in one way to write letters, signs and negations, without the tags around it.

    What a model thinks aloud is no answer; where an answer is marked (``<answer>``, ``\boxed``),
    nothing else is one.
    """
    text = _GROUPS.sub("", _RAISED.sub(" ", text))
    text = _THOUGHT.sub(" ", unicodedata.normalize("NFKC", text)).translate(_SIGNS)
    for mark in _MARKED:
        if found := mark.findall(text):
            text = "\n".join(found)
    text = _JOINED.sub(" ", text)
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

    Examples:
        >>> from vlmlens.graders import plain
        >>> plain("The  Two dogs."), plain("42!")
        ('2 dogs', '42')
    """
    return " ".join(w.text for w in read(readable(answer)) if w.text not in ARTICLES)


def is_number(text: str) -> bool:
    """Whether a word is a number."""
    return bool(re.fullmatch(r"-?\d+(\.\d+)?", text))


def is_numeric(text: str) -> bool:
    """Whether a word is made of numbers: one, a fraction, a range, a time."""
    return text[-1].isdigit() and text[0] in "-0123456789"


def _digits(text: str) -> str:
    """1,000 is 1000, and 3.0 is 3; what is no number (1/2, 10:30) stays."""
    if re.fullmatch(r"-?\d{1,3}(,\d{3})+(\.\d+)?", text):
        text = text.replace(",", "")
    if not re.fullmatch(r"-?\d*\.?\d+(?:[eE][+-]?\d{1,2})?", text):
        return text
    return f"{Decimal(text).normalize() + 0:f}"


def _spelled(words: Sequence[Word]) -> list[Word]:
    """Numbers in letters made one word in digits, a sign in letters with it."""
    made: list[Word] = []
    at = 0
    while at < len(words):
        text, end = _fraction(words, at)
        if end == at:
            value, end = _number(words, at)
            text = _digits(f"{value:f}")
        if end > at:
            first, last = words[at], words[end - 1]
            made.append(Word(text, first.start, last.end, first.clause, first.comma, True))
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
    if end == at and is_number(words[at].text):  # "3 million", "3 and a half", "3 point 5"
        value, end = Decimal(words[at].text), at + 1
    elif end == at and words[at].text == "a" and _scaled(words, at + 1):
        value, end = Decimal(1), at + 1
    elif _follow(words, at, "half a") and _scaled(words, at + 2):
        value, end = Decimal("0.5"), at + 2
    value, end = _pointed(words, value, end) if end > at else (value, end)
    if end == at + 1 and is_number(words[at].text) and not _scaled(words, end):
        return Decimal(0), at
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


def _fraction(words: Sequence[Word], at: int) -> tuple[str, int]:
    """A fraction in words ("two thirds") in digits, and where it ends: there if it is none."""
    value, end = (Decimal(1), at + 1) if _follow(words, at, "a half") else _small(words, at)
    part = words[end].text if end < len(words) and not words[end].comma else ""
    return (f"{value}/{_PARTS[part]}", end + 1) if end > at and part in _PARTS else ("", at)


def _pointed(words: Sequence[Word], value: Decimal, end: int) -> tuple[Decimal, int]:
    """A number with what follows it: "and a half", "point two five"."""
    if end == len(words) or words[end].comma:
        return value, end
    if _follow(words, end, "and a half"):
        return value + Decimal("0.5").copy_sign(value), end + 3
    digits, at = "", end + 1
    while _follow(words, end, "point") and at < len(words) and not words[at].comma:
        digit = _UNITS.index(words[at].text) if words[at].text in _UNITS[:10] else words[at].text
        if not str(digit).isdecimal():
            break
        digits, at = f"{digits}{digit}", at + 1
    return (Decimal(f"{value}.{digits}"), at) if digits and value % 1 == 0 else (value, end)


def _follow(words: Sequence[Word], at: int, said: str) -> bool:
    """Whether these words stand there, with no comma between."""
    wanted = said.split()
    here = words[at : at + len(wanted)]
    return [w.text for w in here] == wanted and not any(w.comma for w in here[1:])


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
