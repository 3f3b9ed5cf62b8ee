"""What an experiment's results are called in a store: conditions, samples, batches."""

from collections.abc import Mapping, Sequence
from typing import Any

from vlmlens.experiments.cell import alone
from vlmlens.experiments.keys import Keys
from vlmlens.identity import digest
from vlmlens.interventions import Intervention
from vlmlens.positions import indices
from vlmlens.sample import Sample
from vlmlens.store import Condition


class Identified:
    """Keys of an experiment's results.

    Args:
        keys: of its model and measure.
        samples: all of its samples.
        interventions: by label.
        batches: the numbers of the samples that are measured here, batch by batch.
    """

    def __init__(
        self,
        keys: Keys,
        samples: Sequence[Sample],
        interventions: Mapping[str, tuple[Intervention, ...]],
        batches: Sequence[Sequence[int]],
    ):
        self._keys, self._samples = keys, samples
        self._interventions, self._batches = interventions, batches
        self.places = {row: at for batch in batches for at, row in enumerate(batch)}
        self._meant = {
            label: [_meant(edit, len(samples)) for edit in edits]
            for label, edits in interventions.items()
        }
        self._alone: dict[Any, tuple[Intervention, ...]] = {}

    def look(self, row: int) -> None:
        """Look at a sample's pictures.

        Raises:
            Exception: whatever opening or drawing one stumbles over.
        """
        self._keys.sample(self._samples[row])

    def condition(self, label: str, row: int) -> Condition:
        """What decides over a sample's result under a label, beside the sample."""
        return self._keys.condition(self._edits(label, row), label)

    def key(self, label: str, row: int) -> bytes:
        """What a sample is under a label."""
        edits, sample = self._edits(label, row), self._samples[row]
        return self._keys.of([sample], edits, self.places[row])

    def by_condition(self, label: str, rows: Sequence[int]) -> dict[str, list[int]]:
        """Samples by their condition: an edit may be of some samples only."""
        found: dict[str, list[int]] = {}
        for row in rows:
            found.setdefault(self.condition(label, row).key, []).append(row)
        return found

    def claim(self, batch: int, without: Mapping[int, Any]) -> str:
        """What all runs of one experiment call a batch."""
        rows = [row for row in self._batches[batch] if row not in without]
        known = [self._keys.sample(self._samples[row]).encode() for row in rows]
        return digest(self._keys.base.encode(), *known)

    def _edits(self, label: str, row: int) -> tuple[Intervention, ...]:
        """What is done to a sample, as if it were alone."""
        meant = self._meant[label]
        if all(some is None for some in meant):
            return self._interventions[label]
        applied = label, tuple(some is None or row in some for some in meant)
        if applied not in self._alone:
            edits = alone(self._interventions[label], row, len(self._samples))
            self._alone[applied] = edits
        return self._alone[applied]


def _meant(edit: Intervention, count: int) -> set[int] | None:
    """The numbers of the samples that an edit is of; None for all of them."""
    some = edit.where.samples
    return None if some is None else set(indices(some, count, "sample"))
