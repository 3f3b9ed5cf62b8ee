"""What a selection is: roles, indices, and how selections combine."""

from dataclasses import dataclass, fields
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool

from vlmlens.errors import EmptySelectionError, InputError, UnknownRoleError
from vlmlens.layout import ROLES, TokenLayout

#: A number, several, or a fraction of the axis (0.5 is its middle, ``(0.25, 0.75)`` the middle
#: half); negative numbers count from the end.
Indices: TypeAlias = int | float | range | tuple[int | float, ...] | list[int | float]

#: Words for positions beside the roles.
WORDS = {"answer": "assistant"}
NAMES = (*ROLES, *WORDS, "last")

Mask: TypeAlias = Bool[np.ndarray, " pos"]


@dataclass(frozen=True, repr=False)
class Selection:
    """Positions of a sample: subclasses write ``mask``."""

    def mask(self, layout: TokenLayout) -> Mask:
        """Which positions are meant, perhaps none."""
        raise NotImplementedError(f"{type(self).__name__} must say which positions it means")

    def of(self, layout: TokenLayout) -> Mask:
        """Which positions are meant, at least one.

        Raises:
            EmptySelectionError: there is none in this sample.
        """
        found = self.mask(layout)
        if not found.any():
            raise EmptySelectionError(f"{self!r} means no position here; {there(layout)}")
        return found

    def __or__(self, other: Any) -> "Selection":
        return AnyOf((self, as_selection(other)))

    def __ror__(self, other: Any) -> "Selection":
        return AnyOf((as_selection(other), self))

    def __and__(self, other: Any) -> "Selection":
        return AllOf((self, as_selection(other)))

    def __rand__(self, other: Any) -> "Selection":
        return AllOf((as_selection(other), self))

    def __invert__(self) -> "Selection":
        return Not(self)

    def __repr__(self) -> str:
        """As it is written, without what is left at its default."""
        values = [(f, getattr(self, f.name)) for f in fields(self)]
        shown = [
            repr(value) if f.default is not None else f"{f.name}={value!r}"
            for f, value in values
            if not (f.default is None and value is None)
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


#: What a user may write for positions: a selection, a role or ``"last"``, an index into the
#: sample's own positions (padding does not count), or several of these.
Positions: TypeAlias = Selection | str | int | float | range | tuple | list


@dataclass(frozen=True, repr=False)
class Role(Selection):
    """Positions that play a role; ``"answer"`` is the assistant's, ``"last"`` the last of all.

    Raises:
        UnknownRoleError: a word that is none of these.
    """

    name: str

    def __post_init__(self):
        if self.name not in NAMES:
            raise UnknownRoleError(self.name, NAMES)

    def mask(self, layout: TokenLayout) -> Mask:
        if self.name != "last":
            return layout.mask(WORDS.get(self.name, self.name))
        found = np.zeros(len(layout), dtype=bool)
        found[_own(layout)[-1]] = True
        return found

    def of(self, layout: TokenLayout) -> Mask:
        found = self.mask(layout)
        if not found.any():
            role = WORDS.get(self.name, self.name)
            later = "; what is generated is meant by steps='decode'" if role == "assistant" else ""
            raise EmptySelectionError(f"no position plays the role {role}; {there(layout)}{later}")
        return found


@dataclass(frozen=True, repr=False)
class At(Selection):
    """Positions by index: padding does not count, negative numbers count from the end."""

    index: Indices

    def mask(self, layout: TokenLayout) -> Mask:
        own = _own(layout)
        found = np.zeros(len(layout), dtype=bool)
        found[own[indices(self.index, len(own), "position")]] = True
        return found


@dataclass(frozen=True, repr=False)
class AnyOf(Selection):
    """Positions that any part means; every part must mean some."""

    parts: tuple[Selection, ...]

    def mask(self, layout: TokenLayout) -> Mask:
        if not self.parts:
            raise EmptySelectionError("no position is selected: the selection is empty")
        return reduce(np.logical_or, (part.of(layout) for part in self.parts))

    def __repr__(self) -> str:
        return " | ".join(_bracketed(part, (AllOf,)) for part in self.parts)


@dataclass(frozen=True, repr=False)
class AllOf(Selection):
    """Positions that every part means."""

    parts: tuple[Selection, ...]

    def mask(self, layout: TokenLayout) -> Mask:
        return reduce(np.logical_and, (part.of(layout) for part in self.parts))

    def __repr__(self) -> str:
        return " & ".join(_bracketed(part) for part in self.parts)


@dataclass(frozen=True, repr=False)
class Not(Selection):
    """The sample's own positions that a part does not mean; padding is in neither."""

    part: Selection

    def mask(self, layout: TokenLayout) -> Mask:
        return ~self.part.mask(layout) & ~layout.mask("pad")

    def __repr__(self) -> str:
        return f"~{_bracketed(self.part)}"


def as_selection(wanted: Any) -> Selection:
    """What a user wrote for positions, as a value.

    Raises:
        UnknownRoleError: a word that is no role.
        InputError: what is none of these.
    """
    if isinstance(wanted, Selection):
        return wanted
    if isinstance(wanted, str):
        return Role(wanted)
    if isinstance(wanted, int | float | range):
        return At(wanted)
    if isinstance(wanted, tuple | list):
        if len(wanted) == 2 and all(isinstance(item, float) for item in wanted):
            return At(tuple(wanted))
        return AnyOf(tuple(as_selection(item) for item in wanted))
    raise InputError(f"positions are roles, indices or selections, not {wanted!r}")


def chosen(layout: TokenLayout, wanted: Positions) -> Mask:
    """Which positions of a layout are meant.

    Raises:
        EmptySelectionError: nothing in this sample is meant.
        UnknownRoleError: a word that is no role.
    """
    return as_selection(wanted).of(layout)


def indices(wanted: Indices, size: int, what: str) -> list[int]:
    """Numbers, ranges and fractions along an axis, as numbers from 0.

    A fraction f is index ``int(f * size)``, 1.0 the last; a pair of fractions is every index i
    with ``f <= i / size < g``.

    Raises:
        EmptySelectionError: a number that is not there, or nothing at all.
    """
    items = [wanted] if isinstance(wanted, int | float) else list(wanted)
    if len(items) == 2 and all(isinstance(item, float) for item in items):
        low, high = items
        found = [i for i in range(size) if low <= i / size < high]
    else:
        found = [_index(item, size, what) for item in items]
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


def _own(layout: TokenLayout) -> np.ndarray:
    return np.flatnonzero(~layout.mask("pad"))


def there(layout: TokenLayout) -> str:
    """What a layout holds, for messages."""
    return "this input has: " + ", ".join(role for role in ROLES if role in layout.roles)


def _bracketed(part: Selection, bare: tuple[type, ...] = ()) -> str:
    if isinstance(part, AnyOf | AllOf) and not isinstance(part, bare):
        return f"({part!r})"
    return repr(part)
