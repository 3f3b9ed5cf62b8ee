"""What an experiment's results are called in a store: conditions, samples, batches."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Int

from vlmlens.experiments.cell import alone
from vlmlens.experiments.keys import Keys
from vlmlens.identity import digest
from vlmlens.interventions import Intervention
from vlmlens.positions import indices
from vlmlens.sample import Sample
from vlmlens.store import KEY_BYTES, KEYS, Condition

#: Bytes of what identifies a sample.
SIZE = 16


class Identified:
    """Keys of an experiment's results, some thirty bytes a sample.

    Args:
        keys: of its model and measure.
        samples: all of its samples.
        interventions: by label.
        batches: the numbers of the samples that are measured here, batch by batch.

    Attributes:
        rows: these numbers, one batch after another.
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
        self.rows: Int[np.ndarray, " row"] = np.fromiter(chain.from_iterable(batches), np.int32)
        self._places = np.full(len(samples), -1, np.int32)
        for batch in batches:
            self._places[np.asarray(batch, np.int32)] = np.arange(len(batch), dtype=np.int32)
        self._meant = {
            label: [_meant(edit, len(samples)) for edit in edits]
            for label, edits in interventions.items()
        }
        self._alone: dict[Any, tuple[Intervention, ...]] = {}
        self._seen = bytearray(SIZE * len(samples))
        self._made: dict[tuple[bool, bool], tuple[bytearray, bytearray]] = {}

    def look(self, row: int) -> None:
        """Look at a sample's pictures.

        Raises:
            Exception: whatever opening or drawing one stumbles over.
        """
        seen = bytes.fromhex(self._keys.sample(self._samples[row]))
        self._seen[SIZE * row : SIZE * (row + 1)] = seen

    def condition(self, label: str, row: int) -> Condition:
        """What decides over a sample's result under a label, beside the sample."""
        return self._keys.condition(self._edits(label, row), label)

    def key(self, label: str, row: int) -> bytes:
        """What a sample that was looked at is under a label."""
        edits, count = self._edits(label, row), len(self._samples)
        kind = self._keys.kind(edits)
        if kind not in self._made:
            self._made[kind] = bytearray(KEY_BYTES * count), bytearray(count)
        made, there = self._made[kind]
        own = slice(KEY_BYTES * row, KEY_BYTES * (row + 1))
        if not there[row]:
            seen = self._seen[SIZE * row : SIZE * (row + 1)].hex()
            made[own] = self._keys.of([self._samples[row]], edits, int(self._places[row]), [seen])
            there[row] = True
        return bytes(made[own])

    def keys(self, label: str, rows: Sequence[int] | Int[np.ndarray, " row"]) -> pa.Array:
        """The same of several samples."""
        whole = bytearray(KEY_BYTES * len(rows))
        for at, row in enumerate(rows):
            whole[KEY_BYTES * at : KEY_BYTES * (at + 1)] = self.key(label, int(row))
        return pa.FixedSizeBinaryArray.from_buffers(KEYS, len(rows), [None, pa.py_buffer(whole)])

    def by_condition(
        self, label: str, rows: Sequence[int] | Int[np.ndarray, " row"]
    ) -> dict[str, Sequence[int] | Int[np.ndarray, " _row"]]:
        """Samples by their condition: an edit may be of some samples only."""
        if len(rows) and all(some is None for some in self._meant[label]):
            return {self.condition(label, int(rows[0])).key: rows}
        found: dict[str, Any] = {}
        for row in map(int, rows):
            found.setdefault(self.condition(label, row).key, []).append(row)
        return found

    def claim(self, batch: int, without: Mapping[int, Any]) -> str:
        """What all runs of one experiment call a batch."""
        label = next(iter(self._interventions))
        rows = [row for row in self._batches[batch] if row not in without]
        return digest(self._keys.base.encode(), *(self.key(label, row) for row in rows))

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
