"""VQA's soft accuracy: how many of ten people said the same, after a fixed normalisation."""

import re
from collections.abc import Sequence

from vlmlens.graders.rule import PARSED, UNPARSED, Graded, Rule
from vlmlens.sample import Sample

_SIGNS = list(';/[]"{}()=+\\_-><@`,?!')
_DIGITS_COMMA = re.compile(r"\d,\d")
_STOP = re.compile(r"\.(?!\d)")
#: The official evaluation hands a flag where the count belongs, so more stops than this stay.
_STOPS = int(re.UNICODE)
_NUMBERS = {"none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4"}
_NUMBERS |= {"five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10"}
_ARTICLES = ("a", "an", "the")
#: Words of which one apostrophe is left out.
_SHORTENED = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
haven't he'd he'd've he's how'd how'll how's I'd've I'm I've isn't it'd it'd've it'll ma'am
mightn't mightn't've might've mustn't must've needn't not've o'clock oughtn't shan't she'd've
should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've
someone'll someone's something'd something'd've something'll that's there'd there'd've there're
there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're
what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're
why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're
you've
"""
#: What the official table has beside these, its slip with "somebodyd" too.
_ODD = {"somebody'd": "somebodyd"}
_ODD |= dict.fromkeys(("ow's'at", "'ows'at", "'ow'sat"), "'ow's'at")


def _left_out() -> dict[str, str]:
    found = {}
    for word in _SHORTENED.split():
        for at in (match.start() for match in re.finditer("'", word)):
            found[word[:at] + word[at + 1 :]] = word
    return found | _ODD


_CONTRACTIONS = _left_out()


def unpunctuated(text: str) -> str:
    """Signs taken out where they touch a blank, else made one; full stops before digits stay."""
    made = text
    for sign in _SIGNS:
        alone = f"{sign} " in text or f" {sign}" in text or _DIGITS_COMMA.search(text) is not None
        made = made.replace(sign, "" if alone else " ")
    return _STOP.sub("", made, count=_STOPS)


def unworded(text: str) -> str:
    """In lower case, number words as digits, without articles, contractions repaired."""
    words = [_NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def soft_accuracy(said: str, references: Sequence[str]) -> tuple[float, str]:
    """min(1, matches among the others / 3), averaged over leaving each reference out in turn.

    Punctuation is taken out only where people did not all say the same, as the official
    evaluation does; what a matching answer became is returned beside the score.
    """
    answer = said.replace("\n", " ").replace("\t", " ").strip()
    told = [reference.replace("\n", " ").replace("\t", " ").strip() for reference in references]
    if len(set(told)) > 1:
        told = [unpunctuated(one) for one in told]
        answer = unpunctuated(answer)
        told = [unworded(one) for one in told]
        answer = unworded(answer)
    scores = []
    for left_out in range(len(told)):
        others = told[:left_out] + told[left_out + 1 :]
        scores.append(min(1.0, sum(one == answer for one in others) / 3))
    return (sum(scores) / len(scores) if scores else 0.0), answer


def _vqa(said: str, sample: Sample) -> Graded:
    score, answer = soft_accuracy(said, sample.references)
    return Graded(score, answer, PARSED if answer else UNPARSED)


def _lacks(sample: Sample) -> str:
    return "" if sample.references else "compares with the answers of several people (references)"


VQA = Rule("vqa", 2, _vqa, "Antol et al. 2015, arXiv:1505.00468; the official evaluation", _lacks)
