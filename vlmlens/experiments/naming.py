"""What results call samples, and the ways in which they were asked."""

from collections.abc import Sequence

from vlmlens.sample import Sample


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
