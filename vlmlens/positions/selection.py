"""What a selection is: roles, indices, and how selections combine."""

from dataclasses import dataclass, fields
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Int

from vlmlens.annotations import RULES, Checked, kinds, settle
from vlmlens.errors import EmptySelectionError, UnknownRoleError
from vlmlens.layout import ROLES, TokenLayout
from vlmlens.positions.written import Indices, Span, as_numbers, as_written, indices

#: Words for positions beside the roles.
WORDS = {"answer": "assistant"}
NAMES = (*ROLES, *WORDS, "last")

Mask: TypeAlias = Bool[np.ndarray, " pos"]


@dataclass(frozen=True, repr=False)
class Selection(Checked):
    """Positions of a sample: subclasses write ``mask``.

    Examples:
        Positions of one's own are a subclass with a ``mask``:

        >>> from dataclasses import dataclass
        >>> from vlmlens.positions import Selection, chosen
        >>> @dataclass(frozen=True, repr=False)
        ... class Even(Selection):
        ...     def mask(self, layout):
        ...         return np.arange(len(layout)) % 2 == 0
        >>> layout = model.inputs(sample).layouts[0]
        >>> int((Even() & "vision").of(layout).sum()), Even() & "vision"
        (32, Even() & Role('vision'))
    """

    def __post_init__(self):
        settle(self, SETTLED)

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
Positions: TypeAlias = Selection | str | int | float | range | Span | tuple | list


@dataclass(frozen=True, repr=False)
class Role(Selection):
    """Positions that play a role; ``"answer"`` is what the assistant says in the last turn.

    ``"last"`` is the last position of all, whatever its role.

    Raises:
        UnknownRoleError: a word that is none of these.

    Examples:
        >>> from vlmlens.positions import Role
        >>> layout = model.inputs(sample).layouts[0]
        >>> Role("vision").of(layout).sum(), Role("last").of(layout).nonzero()[0]
        (np.int64(64), array([77]))
    """

    name: str

    def __post_init__(self):
        if not isinstance(self.name, str) or self.name not in NAMES:
            raise UnknownRoleError(self.name, NAMES)

    def mask(self, layout: TokenLayout) -> Mask:
        if self.name not in ("last", "answer"):
            return layout.mask(self.name)
        found = np.zeros(len(layout), dtype=bool)
        found[layout.answer() if self.name == "answer" else _own(layout)[-1]] = True
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
    """Positions by index: padding does not count, negative numbers count from the end.

    Examples:
        >>> from vlmlens.positions import At
        >>> layout = model.inputs(sample).layouts[0]  # 78 positions
        >>> At((0, -1)).of(layout).nonzero()[0]
        array([ 0, 77])
        >>> At(0.5).of(layout).nonzero()[0]
        array([39])
    """

    index: Indices

    def mask(self, layout: TokenLayout) -> Mask:
        own = _own(layout)
        found = np.zeros(len(layout), dtype=bool)
        found[own[indices(self.index, len(own), "position")]] = True
        return found


@dataclass(frozen=True, repr=False)
class AnyOf(Selection):
    """Positions that any part means; every part must mean some.

    Examples:
        >>> from vlmlens.positions import AnyOf, Role
        >>> either = AnyOf((Role("user"), Role("last")))  # Role("user") | "last"
        >>> either, int(either.of(model.inputs(sample).layouts[0]).sum())
        (Role('user') | Role('last'), 8)
    """

    parts: tuple[Selection, ...]

    def __post_init__(self):
        object.__setattr__(self, "parts", _parts(self.parts))

    def mask(self, layout: TokenLayout) -> Mask:
        return reduce(np.logical_or, (part.of(layout) for part in self.parts))

    def __repr__(self) -> str:
        return " | ".join(_bracketed(part, (AllOf,)) for part in self.parts)


@dataclass(frozen=True, repr=False)
class AllOf(Selection):
    """Positions that every part means.

    Examples:
        >>> from vlmlens.positions import AllOf, Role, Row
        >>> both = AllOf((Role("vision"), ~Row(0)))  # the same as Role("vision") & ~Row(0)
        >>> both, int(both.of(model.inputs(sample).layouts[0]).sum())
        (Role('vision') & ~Row(0), 56)
    """

    parts: tuple[Selection, ...]

    def __post_init__(self):
        object.__setattr__(self, "parts", _parts(self.parts))

    def mask(self, layout: TokenLayout) -> Mask:
        return reduce(np.logical_and, (part.of(layout) for part in self.parts))

    def __repr__(self) -> str:
        return " & ".join(_bracketed(part) for part in self.parts)


@dataclass(frozen=True, repr=False)
class Not(Selection):
    """The sample's own positions that a part does not mean; padding is in neither.

    Examples:
        >>> from vlmlens.positions import Not, Role
        >>> Not(Role("vision")), int((~Role("vision")).of(model.inputs(sample).layouts[0]).sum())
        (~Role('vision'), 14)
    """

    part: Selection

    def __post_init__(self):
        object.__setattr__(self, "part", as_selection(self.part))

    def mask(self, layout: TokenLayout) -> Mask:
        return ~self.part.mask(layout) & ~layout.mask("pad")

    def __repr__(self) -> str:
        return f"~{_bracketed(self.part)}"


def as_selection(wanted: Any) -> Selection:
    """What a user wrote for positions, as a value.

    Raises:
        UnknownRoleError: a word that is no role.
        InputError: what is none of these.

    Examples:
        >>> from vlmlens.positions import as_selection
        >>> as_selection("vision"), as_selection((0, -1)), as_selection(("bos", "last"))
        (Role('vision'), At((0, -1)), Role('bos') | Role('last'))
    """
    wanted = as_written(wanted, "positions", words=NAMES, kind=Selection)
    if isinstance(wanted, Selection):
        return wanted
    if isinstance(wanted, str):
        return Role(wanted)
    if isinstance(wanted, tuple) and not all(isinstance(item, int | float) for item in wanted):
        return AnyOf(_parts(wanted))
    return At(wanted)


def as_positions(wanted: Any, what: str = "positions") -> Any:
    """What a user wrote for positions, checked, in plain values; ``"all"`` is None.

    Raises:
        UnknownRoleError: a word that is no role.
        InputError: what is no position.

    Examples:
        >>> from vlmlens.positions import as_positions
        >>> as_positions(np.array([0, 2])), as_positions("vision"), as_positions("all")
        ((0, 2), 'vision', None)
    """
    if isinstance(wanted, str) and wanted == "all":
        return None
    written = as_written(wanted, what, words=NAMES, kind=Selection)
    as_selection(written)  # says what is wrong with it now, and not when a pass begins
    return written


#: How fields of selections, and of all that holds some, are checked.
SETTLED = RULES | {kinds(Indices): as_numbers, kinds(Positions): as_positions}


def chosen(layout: TokenLayout, wanted: Positions) -> Mask:
    """Which positions of a layout are meant.

    Raises:
        EmptySelectionError: nothing in this sample is meant.
        UnknownRoleError: a word that is no role.

    Examples:
        >>> from vlmlens.positions import chosen
        >>> mask = chosen(model.inputs(sample).layouts[0], ("bos", "last"))
        >>> mask.shape, mask.nonzero()[0]
        ((78,), array([ 0, 77]))
    """
    return as_selection(wanted).of(layout)


def _parts(given: Any) -> tuple[Selection, ...]:
    parts = tuple(map(as_selection, given if isinstance(given, tuple | list) else (given,)))
    if not parts:
        raise EmptySelectionError("no position is selected: the selection is empty")
    return parts


def _own(layout: TokenLayout) -> Int[np.ndarray, " own"]:
    return np.flatnonzero(~layout.mask("pad"))


def there(layout: TokenLayout) -> str:
    """What a layout holds, for messages."""
    return "this input has: " + ", ".join(role for role in ROLES if role in layout.roles)


def _bracketed(part: Selection, bare: tuple[type, ...] = ()) -> str:
    if isinstance(part, AnyOf | AllOf) and not isinstance(part, bare):
        return f"({part!r})"
    return repr(part)
