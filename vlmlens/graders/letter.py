"""One of several choices, by its letter or its words; two at once are wrong, and said to be."""

from vlmlens.graders.naming import grade, named
from vlmlens.graders.rule import AMBIGUOUS, PARSED, UNPARSED, Graded, Rule
from vlmlens.sample import Sample


def _letter(said: str, sample: Sample) -> Graded:
    choices, gold = _choices(sample), sample.answer
    right = gold is not None and grade(said, gold, choices)
    if not choices:
        return Graded(float(right), said.strip(), PARSED if said.strip() else UNPARSED)
    for shown, choice in zip(sample.choices, choices, strict=True):
        if grade(said, choice, choices):
            return Graded(float(right), shown)
    if right:  # a right answer that is none of the choices
        return Graded(1.0, gold or "")
    return Graded(0.0, "", AMBIGUOUS if len(named(said, choices)) > 1 else UNPARSED)


def _choices(sample: Sample) -> tuple[str, ...]:
    """Choices that are letters, with what they stand for where that is known."""
    if len(sample.options) != len(sample.choices):
        return tuple(sample.choices)
    bare = [choice.strip("().: ") for choice in sample.choices]
    return tuple(f"{a}. {text}" for a, text in zip(bare, sample.options, strict=True))


LETTER = Rule("letter", 7, _letter)
