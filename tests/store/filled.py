"""Stores that are filled by hand, and what is read of them."""

import xarray as xr

from vlmlens.store import Condition, Store

ONE, TWO = Condition("1" * 24, {"label": "one"}), Condition("2" * 24, {"label": "two"})


def keys(*numbers):
    return [number.to_bytes(12, "little") for number in numbers]


def table(*values, **more):
    return xr.Dataset({"x": ("sample", list(values))}, attrs=more)


def opened(folder):
    store = Store(folder)
    assert store.open() == ""
    return store


def kept(folder, *parts):
    """A store with some results: of a condition, numbers of samples, a table."""
    store = opened(folder)
    for condition, numbers, own in parts:
        store.add(condition, keys(*numbers), [f"s{n}" for n in numbers], own)
    store.flush()
    return opened(folder)


def values(store, condition, *numbers):
    parts = store.read({"": (condition.key, keys(*numbers))})[""]
    found = [zip(places, t["x"].values.tolist(), strict=True) for places, t in parts]
    every = [place for places, _ in parts for place in places]
    assert len(every) == len(set(every))  # nothing is read twice
    return {numbers[at]: value for part in found for at, value in part}
