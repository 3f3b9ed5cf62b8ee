"""Equality of short answers, but for case and a full stop: GQA's way."""

from vlmlens.graders.rule import PARSED, UNPARSED, Graded, Rule
from vlmlens.sample import Sample


def normal(text: str) -> str:
    """Without space around it, in lower case, without full stops at its end."""
    return text.strip().lower().rstrip(".").strip()


def _exact(said: str, sample: Sample) -> Graded:
    parsed = normal(said)
    right = bool(parsed) and sample.answer is not None and parsed == normal(sample.answer)
    return Graded(float(right), parsed, PARSED if parsed else UNPARSED)


EXACT = Rule("exact", 1, _exact, "Hudson and Manning 2019, arXiv:1902.09506; Qi et al. 2025")
