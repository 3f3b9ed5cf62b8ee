"""The right answer's words somewhere in what is said."""

from vlmlens.graders.rule import PARSED, UNPARSED, Graded, Rule
from vlmlens.graders.words import plain
from vlmlens.sample import Sample


def _contains(said: str, sample: Sample) -> Graded:
    words, wanted = plain(said).split(), plain(sample.answer or "").split()
    size = len(wanted)
    found = any(words[at : at + size] == wanted for at in range(len(words) - size + 1))
    return Graded(float(bool(wanted) and found), plain(said), PARSED if words else UNPARSED)


CONTAINS = Rule("contains", 3, _contains)
