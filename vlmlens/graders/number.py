"""The one number that is said."""

from vlmlens.graders.rule import AMBIGUOUS, PARSED, UNPARSED, Graded, Rule
from vlmlens.graders.words import is_number, plain, read, readable
from vlmlens.sample import Sample


def _number(said: str, sample: Sample) -> Graded:
    found = {word.text for word in read(readable(said)) if is_number(word.text)}
    if len(found) != 1:
        return Graded(0.0, "", AMBIGUOUS if found else UNPARSED)
    (parsed,) = found
    return Graded(float(parsed == plain(sample.answer or "")), parsed, PARSED)


NUMBER = Rule("number", 2, _number)
