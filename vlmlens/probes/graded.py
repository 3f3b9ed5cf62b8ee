"""Answers that can be counted: those that have a right one."""

import json

import numpy as np
import xarray as xr

from vlmlens.errors import InputError

#: The attribute that names samples without a right answer, as JSON.
UNANSWERED = "unanswered"
#: What answers are measured against: the right ones, or the model's own about intact images.
GOLD, OWN = "gold", "own"
#: Why there is no p against own answers: the clean run cannot be wrong, so that it is not like the
#: others under any null.
UNTESTED = "none: against the model's own answers there is no null to test"
#: Why there is none where nothing says what answers are held against, and it may be these.
UNSAID = (
    "none: every intact answer is right, as the model's own are by construction, and nothing says "
    "what they are measured against; where it is the right answers, pass reference='gold'"
)


def against_own(values: xr.DataArray, reference: str | None = None) -> bool:
    """Whether answers are held against the model's own: as asked, else as their attribute says.

    Raises:
        InputError: a reference that is neither ``"gold"`` nor ``"own"``.
    """
    named = str(values.attrs.get("reference", GOLD) if reference is None else reference)
    if named not in (GOLD, OWN):
        raise InputError(f"reference={named!r}; there is: {GOLD}, {OWN}")
    return named == OWN


def untested(values: xr.DataArray, intact: xr.DataArray, reference: str | None) -> str:
    """Why there can be no p: own answers, or what may be own answers; empty where there can be.

    Args:
        values: a table of answers, 0 or 1.
        intact: those about intact images.
        reference: as it was asked for; None: as the attribute of ``values`` says.
    """
    if against_own(values, reference):
        return UNTESTED
    said = reference is not None or "reference" in values.attrs
    return UNSAID if not said and bool((intact == 1).all()) else ""


def graded(
    correct: xr.DataArray, *others: xr.DataArray | None
) -> tuple[xr.DataArray, list[xr.DataArray | None]]:
    """Tables over ``sample`` without the samples that have no grade.

    Args:
        correct: with ``sample``: 1 is right, 0 wrong, NaN where there is no right answer.
        others: tables of the same samples; None stays.

    Returns:
        ``correct``, whose attribute ``unanswered`` names those that were left out, if any were;
        and the others.

    Raises:
        InputError: no sample has a grade; other dimensions than these, or a label twice.
    """
    for table in (correct, *others):
        if table is not None:
            _refuse_unlabelled(table)
    kept = correct.notnull().all([dim for dim in correct.dims if dim != "sample"])
    if bool(kept.all()):
        return correct, list(others)
    if not bool(kept.any()):
        raise InputError("no sample has a right answer: there is nothing to count")
    names = [str(name) for name in correct["sample"].values[~kept.values]]
    found = [None if table is None else table.isel(sample=kept.values) for table in others]
    return correct.isel(sample=kept.values).assign_attrs({UNANSWERED: json.dumps(names)}), found


def _refuse_unlabelled(table: xr.DataArray) -> None:
    """Raises InputError unless a table is (sample, permutation), each label there once."""
    dims = ", ".join(map(str, table.dims))
    if set(table.dims) != {"sample", "permutation"} or "permutation" not in table.coords:
        raise InputError(
            f"a table of answers is (sample, permutation), with a label for every permutation; "
            f"this has ({dims}) and labels of {', '.join(map(str, table.coords)) or 'none'}: "
            "rename its dimensions, table.rename(...)"
        )
    labels = table.get_index("permutation")
    if not labels.is_unique:
        twice = str(labels[labels.duplicated()][0])
        raise InputError(f"the permutation {twice!r} is there twice; labels must differ")


def refuse_missing(name: str, values: xr.DataArray) -> None:
    """Raises InputError where a value of the table called ``name`` is missing or infinite."""
    lacking = int((~np.isfinite(values.astype(float))).sum())
    if lacking:
        raise InputError(
            f"{lacking} of {values.size} values of {name!r} are missing or infinite; leave those "
            "samples out, and say how many"
        )
