"""What counts as one draw: a sample, or the picture or scene that several samples share."""

import re
from collections.abc import Iterable, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float, Int, Shaped
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from vlmlens.errors import InputError

#: The coordinate of samples that says which picture each is about; "" where it is about none.
PICTURE = "picture"
#: Between what an entry of several parts is made of, each a picture's hash, or that of a pair or
#: set which is drawn as one whatever it shows, after its kind; and how such an entry is known.
AND, OF = "+", "="
HASH = "[0-9a-f]{32}"
PARTS = re.compile(rf"({HASH}\+)*({HASH}|\w+={HASH})")


def declared(kind: str, name: str) -> str:
    """The part of an entry that says which pair or set a sample is of, by a hash of its name."""
    return f"{kind}{OF}{name}"


def pictures_of(entry: str) -> list[str]:
    """The pictures that a sample shows, by its entry in the coordinate ``picture``."""
    return [part for part in _parts(entry) if not _kind(part)]


def unit_named(entries: Iterable[str]) -> str:
    """What is drawn: ``"pair"`` or the like where every sample says so, else ``"picture"``."""
    kinds = {_kind(_parts(entry)[-1]) for entry in entries}
    return (kinds.pop() if len(kinds) == 1 else "") or PICTURE


def _parts(entry: str) -> list[str]:
    return entry.split(AND) if PARTS.fullmatch(entry) else [entry]


def _kind(part: str) -> str:
    return part.partition(OF)[0] if OF in part and PARTS.fullmatch(part) else ""


def together(entries: Sequence[str], *, apart: bool = True) -> Shaped[np.ndarray, " sample"]:
    """Entries of the coordinate ``picture``, equal where samples are one draw.

    Samples that show a picture in common are one, or are of one pair or set that counts as one, and
    so are those that a third one links. Nothing is linked by a picture that every sample shows, an
    example that goes before each question: it is drawn with none of them.

    Args:
        entries: one for every sample.
        apart: False: what every sample shows links them, too, as it does where a classifier may
            meet in its test what it was trained on.
    """
    parts = [_parts(entry) for entry in map(str, entries)]
    if max(map(len, parts), default=0) < 2:
        return np.array(list(map(str, entries)), dtype=str)
    rows = np.repeat(np.arange(len(parts)), [len(own) for own in parts])
    names, columns = np.unique([each for own in parts for each in own], return_inverse=True)
    if apart:
        links = np.bincount(columns)[columns] < len(parts)
        links |= np.array([bool(_kind(name)) for name in names.tolist()])[columns]
        links |= ~np.isin(rows, rows[links])  # where a sample shows nothing else
        rows, columns = rows[links], columns[links]
    size = len(parts) + len(names)
    graph = coo_array((np.ones(len(rows)), (rows, len(parts) + columns)), shape=(size, size))
    _, which = connected_components(graph, directed=False)
    return np.array([f"group {number}" for number in which[: len(parts)]], dtype=str)


def units_of(
    values: xr.DataArray | xr.Dataset, over: str = "sample", scene: str | bool | None = None
) -> tuple[str, Int[np.ndarray, " sample"]]:
    """What is drawn, and which of them every sample belongs to, counted from 0.

    Args:
        values: with the dimension ``over``.
        over: the samples' dimension.
        scene: a coordinate of it: samples with equal entries are one unit. By default the
            coordinate ``picture`` where there is one: samples that show a picture in common, or
            are of one pair or set, are one (``together``), and what is drawn is named "picture", or
            "pair" where all are of one. ``False``: every sample is its own. A sample with the entry
            "" shares it with nobody.

    Raises:
        InputError: nothing along the dimension, or no such coordinate.
    """
    if over not in values.dims or not values.sizes[over]:
        raise InputError(f"nothing along {over!r}; the values have {dict(values.sizes)}")
    name = _named(values, over, scene)
    if name is None:
        return over, np.arange(values.sizes[over])
    entries = values[name].values.astype(str)
    if name == PICTURE:
        name, entries = unit_named(entries.tolist()), together(entries.tolist())
    alone = np.array([f"{number}" if entry == "" else "" for number, entry in enumerate(entries)])
    pairs = np.array([f"{a}\0{b}" for a, b in zip(alone, entries, strict=True)])
    _, which = np.unique(pairs, return_inverse=True)
    return name, which


def _named(values: xr.DataArray | xr.Dataset, over: str, scene: str | bool | None) -> str | None:
    if scene is False:
        return None
    if scene is None:
        there = PICTURE in values.coords and values[PICTURE].dims == (over,)
        return PICTURE if there else None
    if not isinstance(scene, str) or scene not in values.coords or values[scene].dims != (over,):
        there = ", ".join(map(str, values.coords)) or "none"
        raise InputError(
            f"no coordinate {scene!r} of {over!r}; there is: {there}. Name one of them, or give "
            "scene=False for samples that have nothing in common"
        )
    return scene


def by_scene(
    values: xr.DataArray, over: str = "sample", scene: str | bool | None = None
) -> tuple[Float[np.ndarray, "unit cell"], Float[np.ndarray, "unit cell"]]:
    """Sums and counts of every cell, one row for each unit (``units_of``); NaN is left out.

    Raises:
        InputError: infinite values, or what ``units_of`` raises.
    """
    _, which = units_of(values, over, scene)
    x = values.transpose(over, ...).values.astype(float).reshape(values.sizes[over], -1)
    if np.isinf(x).any():
        raise InputError(
            f"{int(np.isinf(x).sum())} of {x.size} values are infinite, and have no mean: find out "
            "why, or leave them out, values.where(np.isfinite(values))"
        )
    known = ~np.isnan(x)
    sums, counts = np.where(known, x, 0.0), known.astype(float)
    units = int(which.max()) + 1
    if units == len(which):
        order = np.argsort(which)
        return sums[order], counts[order]
    total, number = np.zeros((units, x.shape[1])), np.zeros((units, x.shape[1]))
    np.add.at(total, which, sums)
    np.add.at(number, which, counts)
    return total, number
