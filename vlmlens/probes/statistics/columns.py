"""Columns of samples as they come: arrays, lists, or labelled arrays that say what each is of."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int

from vlmlens.draws import units_of
from vlmlens.errors import InputError

#: One value a sample.
Column = Float[np.ndarray, " sample"] | xr.DataArray


def columns(given: Mapping[str, Any], *, mean: bool = False) -> list[Float[np.ndarray, " unit"]]:
    """Columns of equal length as plain numbers, the rows in which one is NaN left out.

    Labelled arrays are of the same samples in the same order. Where they say which picture each is
    about, samples that share one are a single row, their sum (``units_of``).

    Args:
        given: by the names of the parameters; a single dimension each.
        mean: rows of samples that share a picture are their mean.

    Raises:
        InputError: more dimensions, unlike lengths, other samples, infinite values, no numbers.
    """
    rows, known = paired(given)
    which = drawn(given)
    if which is None:
        return list(rows[:, known])
    _, which = np.unique(which[known], return_inverse=True)
    many = np.bincount(which) if mean else 1
    return [np.bincount(which, weights=row) / many for row in rows[:, known]]


def paired(
    given: Mapping[str, Any],
) -> tuple[Float[np.ndarray, "column sample"], Bool[np.ndarray, " sample"]]:
    """The columns of all samples, and the samples of which every column has a value.

    Raises:
        InputError: as ``columns``.
    """
    made = {name: numbers(each, name) for name, each in given.items()}
    for name, each in made.items():
        if each.ndim != 1:
            raise InputError(f"{name} has the shape {each.shape}: one value for each sample")
        if np.isinf(each).any():
            raise InputError(f"{name} has {int(np.isinf(each).sum())} infinite values: leave them "
                             "out, or find out why")  # fmt: skip
    matched({name: len(each) for name, each in made.items()}, given)
    rows = np.stack(list(made.values()))
    return rows, np.asarray(~np.isnan(rows).any(0))


def numbers(given: Any, name: str) -> Float[np.ndarray, "..."]:
    """An array, a list or a labelled array as floats.

    Raises:
        InputError: no numbers.
    """
    try:
        return np.asarray(given, dtype=float)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: numbers are wanted, not {type(given).__name__}") from error


def matched(lengths: Mapping[str, int], given: Mapping[str, Any]) -> None:
    """Raise unless columns are as long as one another, and of the same samples where they say.

    Raises:
        InputError: it says in what they differ.
    """
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} has {count}" for name, count in lengths.items())
        raise InputError(f"{told} samples: one value of each for every sample")
    labelled = {name: each for name, each in given.items() if isinstance(each, xr.DataArray)}
    for label in ("sample", "picture"):
        told = {
            name: each[label].values.tolist()
            for name, each in labelled.items()
            if label in each.coords and each[label].dims == each.dims[:1]
        }
        if len({tuple(each) for each in told.values()}) > 1:
            raise InputError(
                f"{' and '.join(told)} differ in the coordinate {label!r}: they are paired by "
                "place. Bring them into one order, a.sel(sample=b.sample), or pass .values"
            )


def drawn(given: Mapping[str, Any]) -> Int[np.ndarray, " sample"] | None:
    """Which draw every sample is of, where a labelled array says so and some share one."""
    for each in given.values():
        if isinstance(each, xr.DataArray) and each.dims and "picture" in each.coords:
            _, which = units_of(each, str(each.dims[0]))
            return which if len(np.unique(which)) < len(which) else None
    return None


def check_labelled(values: object, what: str) -> None:
    """Raise unless values are a labelled array, and no complex numbers.

    Raises:
        InputError: it says what they are.
    """
    if not isinstance(values, xr.DataArray):
        choose = ", one variable of the table" if isinstance(values, xr.Dataset) else ""
        raise InputError(
            f"{what} takes a labelled array (xarray.DataArray), such as (sample, layer, head)"
            f"{choose}; this is a {type(values).__name__}"
        )
    if values.dtype.kind == "c":
        raise InputError(
            f"{what} takes real numbers; these are complex: take abs(values), or values.real"
        )
