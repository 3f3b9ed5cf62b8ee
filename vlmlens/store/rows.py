"""A batch's table as rows, one a sample, and back again: what a row holds is its form."""

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import xarray as xr
from jaxtyping import Bool, Int, Shaped

from vlmlens.errors import DataError

#: What no text of Arrow's can hold; a column with such words is written escaped, and says so.
AWKWARD = re.compile("[\ud800-\udfff]")
CODES = re.compile(r"\\(\\|ud[89a-f][0-9a-f]{2})")
TIMES = "mM"
#: An attribute: which variable says how many entries along its second axis each sample has; the
#: others are not kept, and are zero, or "", when it is read back.
RAGGED = "ragged"


def canonical(table: xr.Dataset) -> xr.Dataset:
    """The table as every result is handed on, whether it was kept in between or not.

    Every data variable has the dimension ``sample``, which has no labels: experiments give their
    own. Encodings are dropped, words are ``str``, attributes are what JSON holds.
    """
    made = table.drop_encoding().drop_vars("sample", errors="ignore")
    count = made.sizes["sample"]
    changed: dict[str, xr.Variable] = {}
    for name, variable in made.variables.items():
        dims, values, attrs = variable.dims, variable.values, variable.attrs
        if values.dtype.kind == "T" or _are_words(values):
            values = values.astype(str)
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
        if "sample" not in dims and name in made.data_vars:
            dims = ("sample", *dims)
            values = np.broadcast_to(values, (count, *values.shape))
        changed[str(name)] = xr.Variable(dims, values, _plain(attrs))
    coords = {name: changed.pop(name) for name in map(str, made.coords)}
    return xr.Dataset(changed, coords, _plain(made.attrs))


def tight(table: xr.Dataset) -> xr.Dataset:
    """The table with no word's column wider than its longest word."""
    made = table.copy()
    for name, variable in table.variables.items():
        if variable.dtype.kind == "U" and name not in table.indexes:
            words = np.array(variable.values.reshape(-1).tolist(), dtype=str)
            own = xr.Variable(variable.dims, words.reshape(variable.shape), variable.attrs)
            made = (made.assign_coords if name in table.coords else made.assign)({name: own})
    return made


def taken_apart(table: xr.Dataset) -> tuple[str, dict[str, pa.Array]]:
    """A canonical table's form, as JSON, and its columns, with one entry a sample.

    Arrays are lists in C order; the form says their dimensions, sizes and coordinates. Of ragged
    ones a sample's list has its own entries.

    Raises:
        DataError: values that no file holds.
    """
    columns: dict[str, pa.Array] = {}
    form: dict[str, Any] = {"attrs": table.attrs, "columns": [], "fixed": []}
    for name, variable in table.variables.items():
        told: dict[str, Any] = {
            "name": str(name),
            "dims": [str(dim) for dim in variable.dims],
            "dtype": _kind(variable, str(name)),
            "attrs": variable.attrs,
            "coord": name in table.coords,
        }
        values = variable.values
        if values.dtype.kind in TIMES:
            values = values.astype(np.int64)
        if "sample" not in variable.dims:
            told |= {"shape": values.shape, "values": values.reshape(-1).tolist()}
            form["fixed"].append(told)
            continue
        values = np.moveaxis(values, variable.dims.index("sample"), 0)
        counts = _counts(table, variable, values)
        flat = (values if counts is None else values[_there(counts, values.shape[1])]).reshape(-1)
        if told["dtype"] == "U":
            words: list[Any] = flat.tolist()
            told["escaped"] = any(AWKWARD.search(word) for word in words)
            column = pa.array(map(_escaped, words) if told["escaped"] else words, pa.string())
        else:
            column = pa.array(flat)
        if counts is not None:
            told |= {"ragged": True, "shape": values.shape[2:]}
            ends = np.cumsum(counts, dtype=np.int64) * int(np.prod(values.shape[2:]))
            offsets = pa.array(np.concatenate([[0], ends]), pa.int32())  # refused beyond 2**31
            column = pa.ListArray.from_arrays(offsets, column)
        elif values.ndim > 1:
            loose = values.ndim == 2 and variable.dims[-1] not in table.coords
            told["shape"] = None if loose else values.shape[1:]
            each = int(np.prod(values.shape[1:]))
            offsets = np.arange(len(values) + 1, dtype=np.int32) * each
            column = pa.ListArray.from_arrays(offsets, column)
        columns[str(name)] = column
        form["columns"].append(told)
    try:
        return json.dumps(form, sort_keys=True, separators=(",", ":")), columns
    except (TypeError, ValueError) as error:
        raise DataError(f"a result cannot be kept: {error}") from error


def put_together(form: str, rows: pa.Table) -> Iterator[tuple[list[int], xr.Dataset]]:
    """The tables that rows of one form make, and the rows that each is of.

    Lists of no fixed length may differ in length from row to row: those alike make a table.
    """
    groups = _alike(form, rows)
    for group in groups:
        own = rows if len(groups) == 1 else rows.take(pa.array(group))
        yield group.tolist(), _one(form, own)


def _alike(form: str, rows: pa.Table) -> list[Int[np.ndarray, " row"]]:
    """Rows of one form in groups whose lists are of one length."""
    loose = [told["name"] for told in _read(form)["columns"] if told.get("shape", ()) is None]
    if not loose or not len(rows):
        return [np.arange(len(rows))]
    lengths = [rows.column(n).combine_chunks().value_lengths().to_numpy() for n in loose]
    _, group = np.unique(np.stack(lengths, 1), axis=0, return_inverse=True)
    group = group.reshape(-1)
    return [np.flatnonzero(group == number) for number in range(group.max() + 1)]


def _one(form: str, rows: pa.Table) -> xr.Dataset:
    """The table of some rows of one form whose lists are alike."""
    read = _read(form)
    variables: dict[str, xr.Variable] = {}
    coords: dict[str, xr.Variable] = {}
    for told in read["columns"]:
        column = rows.column(told["name"]).combine_chunks()
        dtype, shape, there = np.dtype(told["dtype"]), (len(rows),), None
        if "ragged" in told:
            lengths = column.value_lengths().to_numpy()
            counts = lengths // max(int(np.prod(told["shape"])), 1)
            there = _there(counts, int(counts.max(initial=0)))
            column, shape = column.flatten(), (int(counts.sum()), *told["shape"])
        elif "shape" in told:
            inside = told["shape"]
            column = column.flatten()
            shape = (len(rows), len(column) // max(len(rows), 1)) if inside is None else shape
            shape = shape if inside is None else (len(rows), *inside)
        if dtype.kind == "U":
            words = column.to_pylist()
            values = np.array(list(map(_unescaped, words)) if told["escaped"] else words, str)
        else:
            values = column.to_numpy(zero_copy_only=False).astype(dtype)
        values = values.reshape(shape)
        if there is not None:
            padded = np.zeros((*there.shape, *told["shape"]), values.dtype)
            padded[there] = values
            values = padded
        values = np.moveaxis(values, 0, told["dims"].index("sample"))
        into = coords if told["coord"] else variables
        into[told["name"]] = xr.Variable(told["dims"], values, dict(told["attrs"]))
    for told in read["fixed"]:
        values = np.array(told["values"], dtype=told["dtype"]).reshape(told["shape"])
        coords[told["name"]] = xr.Variable(told["dims"], values, dict(told["attrs"]))
    return xr.Dataset(variables, coords, dict(read["attrs"]))


def _counts(
    table: xr.Dataset, variable: xr.Variable, values: Shaped[np.ndarray, "..."]
) -> Int[np.ndarray, " sample"] | None:
    """How many entries each sample has of a variable that says what counts them; else None."""
    name = variable.attrs.get(RAGGED)
    return None if name is None else table[name].values.clip(max=values.shape[1])


def _there(counts: Int[np.ndarray, " sample"], most: int) -> Bool[np.ndarray, "sample token"]:
    """Which entries there are, of samples that have at most so many."""
    return np.arange(most) < counts[:, None]


@lru_cache(maxsize=256)
def _read(form: str) -> dict[str, Any]:
    return json.loads(form)


def _kind(variable: xr.Variable, name: str) -> str:
    """The dtype that a file holds; words of any length are ``U``."""
    if variable.dtype.kind == "U":
        return "U"
    if variable.dtype.kind in "biuf" + TIMES:
        return variable.dtype.str
    raise DataError(
        f"a result cannot be kept: no file holds {name}, whose values are {variable.dtype}; "
        "measure numbers, flags or words, or run without a folder"
    )


def _are_words(values: Shaped[np.ndarray, "..."]) -> bool:
    return values.dtype == object and all(isinstance(word, str) for word in values.flat)


def _plain(attrs: Any) -> dict[str, Any]:
    """Attributes as they come back from JSON; as they are, where it does not hold them."""
    try:
        return json.loads(json.dumps(dict(attrs), default=_number))
    except (TypeError, ValueError):
        return dict(attrs)


def _number(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"an attribute is {value!r}")


def _escaped(text: str) -> str:
    return AWKWARD.sub(lambda m: f"\\u{ord(m[0]):04x}", text.replace("\\", "\\\\"))


def _unescaped(text: str) -> str:
    return CODES.sub(lambda m: "\\" if m[1] == "\\" else chr(int(m[1][1:], 16)), text)
