"""What users hand to an experiment, checked at its doors."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlmlens.checks import path, shown, whole
from vlmlens.errors import DataError, InputError
from vlmlens.experiments.measures import Measure
from vlmlens.interventions import Intervention
from vlmlens.model import HookedVLM
from vlmlens.picture import at_home
from vlmlens.sample import Sample


def as_model(given: Any) -> HookedVLM:
    """An open model.

    Raises:
        InputError: anything else.
    """
    if isinstance(given, HookedVLM):
        return given
    raise InputError(
        f"model={shown(given)}: an open model is wanted, HookedVLM.from_pretrained(name)"
    )


def as_samples(given: Any, what: str = "samples") -> tuple[Sample, ...]:
    """Samples, at least one, of anything that gives them.

    Raises:
        InputError: what is no sample, or one alone.
        DataError: none at all.
    """
    if isinstance(given, Sample):
        raise InputError(f"{what} is one sample; pass a list of them")
    try:
        samples = tuple(given)
    except TypeError as error:
        raise InputError(f"{what} is {shown(given)}; pass a list of samples") from error
    if not samples:
        raise DataError("an experiment needs samples; the data set is empty")
    if strange := [one for one in samples if not isinstance(one, Sample)]:
        raise InputError(
            f"{shown(strange[0])} is no sample; pass a list of Sample(question, images)"
        )
    return samples


def as_measure(given: Any) -> Measure:
    """A measure.

    Raises:
        InputError: anything else, a measure's class too.
    """
    if isinstance(given, Measure):
        return given
    raise InputError(f"measure={shown(given)}: a measure is wanted, such as Answering()")


def as_batch(given: Any) -> int:
    """How many samples a pass takes.

    Raises:
        InputError: anything but a whole number of at least 1.
    """
    return whole(given, "batch", least=1)


def as_labelled(given: Any) -> dict[str, tuple[Intervention, ...]]:
    """Lists of interventions by their labels.

    Raises:
        InputError: anything else, or none.
    """
    if not isinstance(given, Mapping) or not given:
        raise InputError(
            f"interventions is {shown(given)}; name at least one list of them, such as "
            '{"original": (), "shuffled": (PermuteVision(),)}'
        )
    made = {}
    for label, edits in given.items():
        if not isinstance(label, str):
            raise InputError(f"interventions: the label {shown(label)} is no text; write it as one")
        edits = (edits,) if isinstance(edits, Intervention) else edits
        if not isinstance(edits, Sequence) or not all(isinstance(e, Intervention) for e in edits):
            raise InputError(
                f"interventions[{label!r}] is {shown(edits)}; pass a list of interventions"
            )
        made[label] = tuple(edits)
    return made


def as_folder(given: Any) -> Path:
    """A folder's path.

    Raises:
        InputError: what is no path.
    """
    return at_home(path(given, "folder"))
