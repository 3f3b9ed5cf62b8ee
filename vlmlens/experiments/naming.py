"""Names in results: of samples, of axes, of the ways in which questions were asked."""

from collections.abc import Sequence

from vlmlens.errors import InputError
from vlmlens.sample import Sample

#: What results call something else by.
TAKEN = ("sample", "category", "question", "gold", "picture", "chance")


def named(samples: Sequence[Sample]) -> tuple[str, ...]:
    """What results call samples: their ids, or their number; a name twice gets a number behind."""
    taken: dict[str, int] = {}
    names = []
    for number, sample in enumerate(samples):
        name = own = sample.id or str(number)
        while name in taken:
            taken[own] += 1
            name = f"{own} ({taken[own]})"
        taken[name] = 1
        names.append(name)
    return tuple(names)


def forms(samples: Sequence[Sample]) -> dict[str, str]:
    """The ways to ask that published sets put these questions in; nothing for other samples."""
    forms = sorted({sample.form for sample in samples if sample.form})
    return {"prompt_form": ", ".join(forms)} if forms else {}


def taken(dimension: object) -> InputError:
    """What is said of a name that results have for something else."""
    return InputError(f"dimension={dimension!r}: results need another word, that is not taken yet")
