"""The one number that is said, without those that are denied."""

from vlmlens.graders.naming import denied
from vlmlens.graders.rule import AMBIGUOUS, PARSED, UNPARSED, Graded, Rule
from vlmlens.graders.settled import Mention
from vlmlens.graders.words import is_number, is_numeric, plain, read, readable
from vlmlens.sample import Sample


def _number(said: str, sample: Sample) -> Graded:
    words = read(readable(said))
    found = {
        word.text
        for at, word in enumerate(words)
        if is_numeric(word.text) and not denied(words, Mention(-1, at, at + 1))
    }
    if len(found) != 1:
        return Graded(0.0, "", AMBIGUOUS if found else UNPARSED)
    (parsed,) = found
    right = parsed == plain(sample.answer or "")
    if not right and not is_number(parsed):
        return Graded(0.0, "", UNPARSED)
    return Graded(float(right), parsed, PARSED)


def _lacks(sample: Sample) -> str:
    numeric = is_numeric(plain(sample.answer or "") or "none")
    return "" if numeric else f"knows numbers, and {sample.answer!r:.60} is right"


NUMBER = Rule("number", 4, _number, lacks=_lacks)
