"""What a user may write for places along an axis, as plain values that compare and hash."""

import math
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, TypeAlias

from vlmlens.checks import plain, shown
from vlmlens.errors import EmptySelectionError, InputError, UnknownRoleError


@dataclass(frozen=True, repr=False)
class Span:
    """A slice, which by itself does not hash everywhere; its ends must be there.

    Examples:
        >>> from vlmlens.positions import Span
        >>> Span(-2).of(5, "layer"), Span(0, 4, 2).of(5, "layer"), Span(1, 3)
        ([3, 4], [0, 2], slice(1, 3))
    """

    start: int | None = None
    stop: int | None = None
    step: int | None = None

    def of(self, size: int, what: str) -> list[int]:
        """The indices along an axis of this size.

        Raises:
            EmptySelectionError: an end beyond the axis.
        """
        for end in (self.start, self.stop):
            if end is not None and not -size <= end <= size:
                raise EmptySelectionError(f"no {what} {end}: there are {size}, counted from 0")
        return list(range(size)[slice(self.start, self.stop, self.step)])

    def __repr__(self) -> str:
        ends = (self.start, self.stop, self.step)
        return f"slice({', '.join(map(repr, ends if self.step is not None else ends[:2]))})"


#: A number, several, or a fraction of the axis (0.5 is its middle, ``(0.25, 0.75)`` the middle
#: half); negative numbers count from the end.
Indices: TypeAlias = int | float | range | Span | tuple[int | float, ...] | list[int | float]

#: What is said of an axis of numbers in words.
WORDS = {"last": -1}


def as_written(
    wanted: Any,
    what: str,
    words: Sequence[str] = (),
    kind: type | None = None,
) -> Any:
    """What a user wrote, in Python's own values: arrays, sets and lists as tuples.

    Args:
        wanted: what was written.
        what: what it is called.
        words: those that may be said.
        kind: of further values that may be given as they are.

    Raises:
        InputError: what names no place.
        UnknownRoleError: a word that is none of these.

    Examples:
        >>> from vlmlens.positions import as_written
        >>> as_written({3, 1}, "layers"), as_written(slice(2, 4), "layers")
        ((1, 3), slice(2, 4))
    """
    given = plain(wanted)
    if isinstance(given, bool):
        advice = "leave it out for all of them" if given else "say which, by number"
        raise InputError(f"{what}={shown(wanted)}: True and False are no numbers; {advice}")
    if isinstance(given, float) and given != given:
        raise InputError(f"{what}={shown(wanted)} is no number")
    if isinstance(given, int | float | range) or (kind is not None and isinstance(given, kind)):
        return given
    if isinstance(given, Span):
        return given
    if isinstance(given, slice):
        ends = [plain(end) for end in (given.start, given.stop, given.step)]
        if any(isinstance(end, bool) or not isinstance(end, int | None) for end in ends):
            raise InputError(f"{what}={given}: the ends of a slice are whole numbers")
        if ends[2] == 0:
            raise InputError(f"{what}={given}: a slice goes on by at least one")
        return Span(*ends)
    if isinstance(given, str):
        if given not in words:
            if kind is not None:
                raise UnknownRoleError(given, words)
            raise InputError(_advice(given, what, words, kind))
        return given
    if isinstance(given, Collection) and not isinstance(given, Mapping | bytes | bytearray):
        items = sorted(given, key=_order) if isinstance(given, Set) else given
        if items and all(isinstance(item, bool) for item in map(plain, items)):
            raise InputError(
                f"{what}={shown(wanted)} is a mask, and numbers are wanted: "
                f"{what}=np.flatnonzero(mask)"
            )
        return tuple(as_written(item, what, words, kind) for item in items)
    raise InputError(_advice(wanted, what, words, kind))


def as_numbers(wanted: Any, what: str) -> Any:
    """The same for an axis of numbers: ``"last"`` is -1, ``"all"`` None.

    Raises:
        InputError: what is no number, and no collection of numbers.

    Examples:
        >>> from vlmlens.positions import as_numbers
        >>> [as_numbers(given, "layers") for given in ("last", torch.tensor([0, 2]), "all")]
        [-1, (0, 2), None]
    """
    if isinstance(wanted, str) and wanted == "all":
        return None
    written = as_written(wanted, what, tuple(WORDS))
    flat = written if isinstance(written, tuple) else (written,)
    if any(isinstance(item, tuple | range | Span) for item in flat) and isinstance(written, tuple):
        raise InputError(f"{what}={shown(wanted)}: numbers side by side, with none inside another")
    if isinstance(written, str):
        return WORDS[written]
    if isinstance(written, tuple):
        return tuple(WORDS[item] if isinstance(item, str) else item for item in written)
    return written


def indices(wanted: Indices, size: int, what: str) -> list[int]:
    """Numbers, ranges and fractions along an axis, as numbers from 0.

    A fraction f is index ``int(f * size)``, 1.0 the last; a pair of fractions is every index i
    with ``f <= i / size < g``.

    Raises:
        EmptySelectionError: a number that is not there, or nothing at all.

    Examples:
        >>> from vlmlens.positions import indices
        >>> [indices(given, 4, "layer") for given in ((0, -1), 0.5, (0.25, 0.75))]
        [[0, 3], [2], [1, 2]]
    """
    if isinstance(wanted, Span):
        found = wanted.of(size, what)
    else:
        items = [wanted] if isinstance(wanted, int | float) else list(wanted)
        found = [_index(item, size, what) for item in items]
        if len(items) == 2 and all(isinstance(item, float) for item in items):
            found = [i for i in range(size) if items[0] <= i / size < items[1]]
    if not found:
        raise EmptySelectionError(
            f"no {what} is selected: the selection is empty ({wanted!r} of {size})"
        )
    return found


def _index(item: int | float, size: int, what: str) -> int:
    if isinstance(item, float):
        if not 0 <= item <= 1:
            raise EmptySelectionError(f"no {what} at {item}: fractions lie between 0.0 and 1.0")
        return min(int(item * size), size - 1)
    if not -size <= item < size:
        raise EmptySelectionError(f"no {what} {item}: there are {size}, counted from 0")
    return item % size


def _order(item: Any) -> tuple[int | float, str]:
    """Sets come in another order in every process: numbers by size, the rest by its text."""
    return (item, "") if isinstance(item, int | float) else (math.inf, repr(item))


def _advice(wanted: Any, what: str, words: Sequence[str], kind: type | None) -> str:
    said = ", ".join(map(repr, words))
    if kind is not None:
        takes = f"roles, indices or selections are wanted: {said}, 3, -1, or several"
    else:
        takes = f"numbers are wanted (2, -1, a share such as 0.5), several, a range, or {said}"
    return f"{what}={shown(wanted)}: {takes}"
