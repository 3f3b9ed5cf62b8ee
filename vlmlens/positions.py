"""Which positions of a sequence: small values that combine with ``|``, ``&`` and ``~``.

``Role("vision") & ~Row(0)`` is every vision token but those of the top row. Each value says of one
sample's layout which positions it means; what means nothing there raises and says what there is.
"""

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
            raise EmptySelectionError(f"{self!r} means no position here; {_there(layout)}")
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
            raise EmptySelectionError(f"no position plays the role {role}; {_there(layout)}{later}")
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
class Region(Selection):
    """Vision tokens in chosen rows and columns of the grid, both counted from 0 at the top left.

    Attributes:
        rows: which rows; None for all.
        columns: which columns; None for all.
        image: which of the sample's images; None for each of them.
    """

    rows: Indices | None = None
    columns: Indices | None = None
    image: int | None = None

    def mask(self, layout: TokenLayout) -> Mask:
        found = np.zeros(len(layout), dtype=bool)
        for image in _images(layout, self.image):
            here = layout.vision(image)
            row, column = layout.row[here], layout.column[here]
            meant = np.ones(len(here), dtype=bool)
            for lines, asked, what in ((row, self.rows, "row"), (column, self.columns, "column")):
                if asked is not None:
                    meant &= np.isin(lines, indices(asked, int(lines.max()) + 1, what))
            found[here[meant]] = True
        return found


@dataclass(frozen=True, repr=False)
class Row(Selection):
    """Vision tokens of one row or several, from the top; see ``Region``."""

    index: Indices
    image: int | None = None

    def mask(self, layout: TokenLayout) -> Mask:
        return Region(self.index, None, self.image).mask(layout)


@dataclass(frozen=True, repr=False)
class Column(Selection):
    """Vision tokens of one column or several, from the left; see ``Region``."""

    index: Indices
    image: int | None = None

    def mask(self, layout: TokenLayout) -> Mask:
        return Region(None, self.index, self.image).mask(layout)


@dataclass(frozen=True, repr=False)
class Cell(Selection):
    """The vision token at one row and column; see ``Region``."""

    row: int
    column: int
    image: int | None = None

    def mask(self, layout: TokenLayout) -> Mask:
        return Region(self.row, self.column, self.image).mask(layout)


@dataclass(frozen=True, repr=False)
class Box(Selection):
    """Vision tokens that look at a box of the original image, in its pixels.

    Attributes:
        left: its left edge.
        top: its upper edge.
        right: its right edge.
        bottom: its lower edge.
        image: which of the sample's images; None for each of them.
    """

    left: int | float
    top: int | float
    right: int | float
    bottom: int | float
    image: int | None = None

    def mask(self, layout: TokenLayout) -> Mask:
        found = np.zeros(len(layout), dtype=bool)
        edges = tuple(map(float, (self.left, self.top, self.right, self.bottom)))
        for image in _images(layout, self.image):
            found[layout.within(edges, image)] = True
        return found

    def of(self, layout: TokenLayout) -> Mask:
        found = self.mask(layout)
        if not found.any():
            seen = layout.box[layout.row >= 0]
            low, high = np.nanmin(seen[:, :2], 0), np.nanmax(seen[:, 2:], 0)
            raise EmptySelectionError(
                f"no vision token looks at {self!r}; they see pixels "
                f"{low[0]:g}..{high[0]:g} across and {low[1]:g}..{high[1]:g} down"
            )
        return found


@dataclass(frozen=True, repr=False)
class Text(Selection):
    """Tokens that spell a text, wherever it stands: ``Text("left of")``.

    Spaces do not count, and case does. The text begins where a token begins and ends where one
    ends, so ``Text("is")`` does not mean a part of ``this``.
    """

    text: str

    def mask(self, layout: TokenLayout) -> Mask:
        wanted = "".join(self.text.split())
        found = np.zeros(len(layout), dtype=bool)
        words = [
            "" if role in ("pad", "vision") else "".join(token.split())
            for role, token in zip(layout.roles, layout.tokens, strict=True)
        ]
        for start, first in enumerate(words):
            said, end = first, start
            while said and len(said) < len(wanted) and end + 1 < len(words):
                end += 1
                said += words[end]
            if wanted and said == wanted:
                found[start : end + 1] = [bool(word) for word in words[start : end + 1]]
        return found

    def of(self, layout: TokenLayout) -> Mask:
        found = self.mask(layout)
        if not found.any():
            if not any(layout.tokens):
                raise EmptySelectionError(f"{self!r}: these inputs came without the tokens' text")
            roles = zip(layout.roles, layout.tokens, strict=True)
            said = " ".join(t.strip() for r, t in roles if r not in ("pad", "vision"))
            raise EmptySelectionError(f"no tokens spell {self.text!r}; there is: {said}")
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


def _images(layout: TokenLayout, image: int | None) -> list[int]:
    if layout.images == 0:
        raise EmptySelectionError(f"this sample holds no image; {_there(layout)}")
    return list(range(layout.images)) if image is None else indices(image, layout.images, "image")


def _there(layout: TokenLayout) -> str:
    return "this input has: " + ", ".join(role for role in ROLES if role in layout.roles)


def _bracketed(part: Selection, bare: tuple[type, ...] = ()) -> str:
    if isinstance(part, AnyOf | AllOf) and not isinstance(part, bare):
        return f"({part!r})"
    return repr(part)
