"""Entries along an axis, said as TransformerLens says it: every door that takes a slice."""

from typing import Any

from jaxtyping import Shaped
from torch import Tensor

from vlmlens.checks import plain, shown, whole
from vlmlens.errors import InputError


def entries(given: Any, count: int, what: str) -> int | list[int]:
    """The entries that are meant of so many: one index, which takes the axis away, or several.

    Args:
        given: an index; the ends of a slice as a tuple, or a slice; indices in a list or an array;
            TransformerLens's ``Slice``; None for all.
        count: how many there are.
        what: the argument's name.

    Raises:
        InputError: none of these, none that is there, or one that is not.

    Examples:
        >>> from vlmlens.cache.cutting import entries
        >>> entries(-1, 8, "pos_slice"), entries((2, 4), 8, "pos_slice")
        (7, [2, 3])
    """
    wanted = plain(getattr(given, "slice", given))  # TransformerLens's Slice holds one
    if wanted is None:
        return list(range(count))
    if isinstance(wanted, slice):
        wanted = (wanted.start, wanted.stop, wanted.step)
    if isinstance(wanted, tuple):
        found = list(_between(wanted, count, given, what))
    elif isinstance(wanted, list):
        found = [whole(each, what, -count, count - 1) % count for each in wanted]
    else:
        return whole(wanted, what, -count, count - 1) % count
    if not found:
        raise InputError(f"{what}={shown(given)} holds none of {count}")
    return found


def _between(ends: tuple[Any, ...], count: int, given: Any, what: str) -> range:
    if not 1 <= len(ends) <= 3:
        raise InputError(f"{what}={shown(given)}: an index, a slice, or a slice's ends")
    cut = slice(*(None if end is None else whole(end, what) for end in ends))
    if cut.step == 0:
        raise InputError(f"{what}={shown(given)}: a step of 0 goes nowhere")
    return range(count)[cut]


def cut(x: Shaped[Tensor, "..."], given: Any, dim: int, what: str) -> Shaped[Tensor, "..."]:
    """Some entries of a tensor along one axis, see ``entries``; a view where they lie in a row."""
    if given is None:
        return x
    found, dim = entries(given, x.shape[dim], what), dim % x.ndim
    if isinstance(found, int):
        return x.select(dim, found)
    if found == list(range(found[0], found[0] + len(found))):
        return x.narrow(dim, found[0], len(found))
    return x[(slice(None),) * dim + (found,)]
