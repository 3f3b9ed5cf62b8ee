"""Gates: what a stage must reach on layouts kept for validation, never on those of the test."""

import csv
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch

from vlmlens.errors import InputError
from vlmlens.zoo.training.recipe.loop import Loss, Right


def validated(loss: Loss, lessons: Any) -> dict[str, float]:
    """Share of right answers by form, over the batches of a validation split."""
    right: Right = defaultdict(list)
    with torch.no_grad():
        for number in range(len(lessons)):
            loss(lessons[number], right)
    return {form: sum(r) / len(r) for form, r in sorted(right.items())}


def passed(
    name: str, loss: Any, lessons: Any, folder: Path, gate: float, of: tuple[str, ...] = ()
) -> dict[str, float]:
    """Measure a stage on its validation split, keep the figures, and hold it to its gate.

    The figures go to ``NAME.validation.csv``; where that file is, they are not measured again.

    Args:
        name: of the stage.
        loss: its loss, which notes what was right.
        lessons: batches of the validation split, by number.
        folder: where the file is kept.
        gate: the least mean share of right answers.
        of: the forms that the mean is over; by default all.

    Raises:
        InputError: the mean is below the gate.
    """
    path = folder / f"{name}.validation.csv"
    if not path.exists():
        found = validated(loss, lessons)
        with path.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("form", "right"))
            rows.writerows((form, f"{share:.4f}") for form, share in found.items())
    with path.open(newline="") as file:
        scores = {row["form"]: float(row["right"]) for row in csv.DictReader(file)}
    counted = [scores[form] for form in of or scores]
    mean = sum(counted) / len(counted)
    if mean < gate:
        raise InputError(
            f"{name} reached {mean:.3f} on its validation split, below its gate of {gate}: see "
            f"{path}; train it longer, or delete it and train it anew"
        )
    return scores
