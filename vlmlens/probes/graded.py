"""Answers that can be counted: those that have a right one."""

import json

import xarray as xr

from vlmlens.errors import InputError

#: The attribute that names samples without a right answer, as JSON.
UNANSWERED = "unanswered"


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
        InputError: no sample has a grade.
    """
    kept = correct.notnull().all([dim for dim in correct.dims if dim != "sample"])
    if bool(kept.all()):
        return correct, list(others)
    if not bool(kept.any()):
        raise InputError("no sample has a right answer: there is nothing to count")
    names = [str(name) for name in correct["sample"].values[~kept.values]]
    found = [None if table is None else table.isel(sample=kept.values) for table in others]
    return correct.isel(sample=kept.values).assign_attrs({UNANSWERED: json.dumps(names)}), found
