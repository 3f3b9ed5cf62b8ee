"""Questions of a published set that cannot be asked, or have no one right answer."""

from collections.abc import Sequence
from pathlib import Path

from vlmlens.errors import DataError
from vlmlens.sample import Sample

#: So many are told; of more, how many there are.
TOLD = 10


def refuse_faulty(samples: Sequence[Sample], folder: Path) -> None:
    """Refuse a set with ids that are there twice, empty questions or choices, or two right answers.

    Raises:
        DataError: names them.
    """
    seen: set[str] = set()
    wrong = []
    for sample in samples:
        if sample.id in seen:
            wrong.append(f"{sample.id} is there twice")
        elif fault := _fault(sample):
            wrong.append(f"{sample.id} {fault}")
        seen.add(sample.id)
    if wrong:
        more = f"; and {len(wrong) - TOLD} more" if len(wrong) > TOLD else ""
        raise DataError(
            f"{folder}: {'; '.join(wrong[:TOLD])}{more}. Take these rows out, or fetch the files "
            "again"
        )


def _fault(sample: Sample) -> str:
    if not sample.question.strip():
        return "asks nothing"
    if any(not choice.strip() for choice in sample.choices):
        return "has an empty choice"
    if sample.answer is not None and sample.choices.count(sample.answer) > 1:
        return f"has {sample.answer!r}, the right answer, twice among its choices"
    return ""
