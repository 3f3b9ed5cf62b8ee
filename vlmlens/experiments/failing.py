"""Samples that could not be measured: named, counted, and left out, up to a limit."""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence

import xarray as xr

from vlmlens.checks import allowed
from vlmlens.errors import (
    ClosedModelError,
    DataError,
    MissingToolError,
    UnknownNameError,
    UnreachedPointError,
    VLMLensError,
)
from vlmlens.inputs import Inputs
from vlmlens.model import HookedVLM
from vlmlens.sample import Sample

LOG = logging.getLogger(__name__)
#: Mistakes of the experiment's, which every sample would meet.
EVERYBODYS = (ClosedModelError, MissingToolError, UnknownNameError, UnreachedPointError)


class Failing:
    """The samples that failed so far.

    Args:
        names: what every sample is called.
        limit: how many may fail: a share below 1 (of which at least one sample), or a number.
        count: how many are measured here; by default all of them.

    Attributes:
        errors: what each failed of, by its number.
        worked: whether any sample was ever measured.

    Raises:
        InputError: a limit that is none.
    """

    def __init__(self, names: Sequence[str], limit: int | float, count: int | None = None):
        self.names, self.count = names, len(names) if count is None else count
        self.limit = allowed(limit, self.count)
        self.errors: dict[int, Exception] = {}
        self.worked = False

    def add(self, number: int, error: Exception) -> None:
        """A sample failed.

        Raises:
            VLMLensError: that were too many; or nothing ever worked, and it is no sample's fault.
        """
        if isinstance(error, EVERYBODYS):
            raise error
        self.errors[number] = error
        if len(self.errors) > self.limit:
            self.stop()

    def stop(self) -> None:
        """End the run: with the first sample's own error, where no sample ever worked."""
        first = next(iter(self.errors.values()))
        if not self.worked:
            raise first
        raise DataError(
            f"{len(self.errors)} of {self.count} samples failed, and max_failed allows "
            f"{self.limit}: {said_of(self.listed())}; mend or leave out "
            "these samples, or allow more (max_failed=, --max-failed); what was finished is kept"
        ) from first

    def tell(self) -> None:
        """Say which samples were left out, if any.

        Raises:
            VLMLensError: no sample is left; the first one's own error, where none ever worked.
        """
        if self.errors and len(self.errors) == self.count:
            self.stop()
        for each in self.listed():
            LOG.warning("sample %s failed and is left out: %s", each["id"], each["error"])

    def listed(self) -> list[dict[str, str]]:
        """``id`` and ``error`` of each, in the order of the samples."""
        return [
            {"id": self.names[number], "error": said(error)}
            for number, error in sorted(self.errors.items())
        ]

    def attrs(self) -> dict[str, str]:
        """What a table says of them: nothing where none failed."""
        return {"failures": json.dumps(self.listed())} if self.errors else {}


def batches(
    model: HookedVLM,
    samples: Sequence[Sample],
    batch: int,
    failing: Failing,
    *,
    system: str | None = None,
) -> Iterator[tuple[list[Sample], Inputs]]:
    """Samples and their inputs, batch by batch; those of which none can be made are left out.

    Raises:
        VLMLensError: more fail than may.
    """
    for start in range(0, len(samples), batch):
        some = list(samples[start : start + batch])
        try:
            made = [(some, _whole(model, some, system))]
        except VLMLensError:  # whose it was is seen one by one
            made = []
            for number, sample in enumerate(some, start):
                try:
                    made.append(([sample], _whole(model, [sample], system)))
                except VLMLensError as error:
                    failing.add(number, error)
        failing.worked = failing.worked or bool(made)
        yield from made
    failing.tell()


def _whole(model: HookedVLM, samples: Sequence[Sample], system: str | None) -> Inputs:
    """Inputs, with their units: nothing is read of a picture any more."""
    inputs = model.inputs(samples, system=system)
    assert len(inputs.units) == len(samples)
    return inputs


def left(
    samples: Sequence[Sample], names: Sequence[str], table: xr.Dataset
) -> tuple[list[Sample], list[str]]:
    """The samples, and their names, that a table has."""
    there = set(table["sample"].values.tolist())
    kept = [row for row, name in enumerate(names) if name in there]
    return [samples[row] for row in kept], [names[row] for row in kept]


def in_all(tables: Iterable[xr.Dataset]) -> list[xr.Dataset]:
    """The tables, of the samples that none of them lacks; each names all that failed.

    Raises:
        DataError: no sample is in all of them.
    """
    every = list(tables)
    lacking = {each["id"]: each for each in failed(*every)}
    if not lacking:
        return every
    names = [name for name in every[0]["sample"].values.tolist() if name not in lacking]
    if not names:
        raise DataError(
            f"every sample failed in one measurement or another: {said_of(lacking.values())}"
        )
    told = {"failures": json.dumps(list(lacking.values()))}
    return [table.sel(sample=names).assign_attrs(told) for table in every]


def said_of(failures: Iterable[Mapping[str, str]]) -> str:
    """The first few failures in a line."""
    listed = [f"{each['id']}: {each['error']}" for each in failures]
    return "; ".join(listed[:5]) + (" ..." if len(listed) > 5 else "")


def failed(*tables: xr.Dataset) -> list[dict[str, str]]:
    """The samples that failed in any of these tables: ``id`` and ``error``."""
    return [each for table in tables for each in json.loads(table.attrs.get("failures", "[]"))]


def said(error: Exception) -> str:
    """An error in a line: ours as they are, others with their kind."""
    text = " ".join(str(error).split())
    return (
        text if type(error).__module__.startswith("vlmlens.") else f"{type(error).__name__}: {text}"
    )
