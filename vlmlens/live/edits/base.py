"""What an edit of the live page is: a frozen value, made of plain data, that stands for code."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

from vlmlens.annotations import RULES, Checked, settle
from vlmlens.cache import ActivationCache
from vlmlens.checks import shown, wholes
from vlmlens.errors import EmptySelectionError, InputError
from vlmlens.inputs import Inputs
from vlmlens.interventions import Intervention
from vlmlens.layout import TokenLayout
from vlmlens.model import HookedVLM


@dataclass(frozen=True)
class Setting:
    """What an edit is made for.

    Attributes:
        model: the open model.
        inputs: the prompt that is edited.
        clean: what the unedited run held at every head's output; for means.
        second: what the run on the second picture held in the stream; for patches.
        cell: a cell of the saved map, made again; for cells.
    """

    model: HookedVLM
    inputs: Inputs
    clean: Callable[[], ActivationCache]
    second: Callable[[], ActivationCache]
    cell: Callable[[tuple[int, ...]], Any]

    @property
    def layout(self) -> TokenLayout:
        """Of the prompt that is edited."""
        return self.inputs.layouts[0]


@dataclass(frozen=True)
class LiveEdit(Checked):
    """One line of the page's list of edits; subclasses add fields of plain data."""

    #: Fields that name positions of the prompt, which move when the question changes.
    PLACES: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self):
        settle(self, KINDS_OF_DATA)

    def label(self, layout: TokenLayout) -> str:
        """What the list calls it, by the words and the places of the prompt that it is made in."""
        raise NotImplementedError

    def interventions(self, setting: Setting) -> tuple[Intervention, ...]:
        """What it stands for, applied in order."""
        raise NotImplementedError

    def fields(self) -> dict[str, Any]:
        """Its fields as plain data."""
        return {item.name: _plain(getattr(self, item.name)) for item in fields(self)}

    def places(self) -> tuple[int, ...]:
        """Every position that it names."""
        return tuple(at for name in self.PLACES for at in getattr(self, name) or ())

    def refuse_outside(self, size: int) -> None:
        """Refuse positions that a prompt of this many tokens does not have.

        Raises:
            EmptySelectionError: names the last one.
        """
        if (last := max(self.places(), default=-1)) >= size:
            raise EmptySelectionError(
                f"no position {shown(last)}: there are {size}, counted from 0"
            )

    def moved(self, to: Mapping[int, int]) -> "LiveEdit":
        """The same edit where its positions stand in another prompt."""
        changed = {
            name: None if getattr(self, name) is None else tuple(to[p] for p in getattr(self, name))
            for name in self.PLACES
        }
        return replace(self, **changed)


def span(layers: tuple[int, ...] | None) -> range | None:
    """Layers from the first to the last, both included; None for all."""
    if layers is None:
        return None
    if len(layers) != 2 or layers[0] > layers[1]:
        raise InputError(
            f"layers={list(layers)}: the first and the last are wanted, such as [0, 3]"
        )
    return range(layers[0], layers[1] + 1)


def compact(positions: tuple[int, ...], what: str) -> range | tuple[int, ...]:
    """Positions in order, each once; a range where they follow one another."""
    if not positions:
        raise InputError(f"{what}=[]: no position is chosen")
    found = sorted(set(positions))
    follow = found[-1] - found[0] + 1 == len(found)  # a range may be too long to have a length
    return range(found[0], found[-1] + 1) if follow and len(found) > 2 else tuple(found)


def named(positions: tuple[int, ...] | None, layout: TokenLayout) -> str:
    """Positions by what stands there: words as they are written, patches by rows and columns."""
    if positions is None:
        return "the picture"
    chosen = sorted(set(positions))
    patches = [at for at in chosen if layout.row[at] >= 0]
    words = [f"“{layout.tokens[at].strip() or '␣'}”" for at in chosen if layout.row[at] < 0]
    said = [", ".join(words[:3]) + f" and {len(words) - 3} more words" * (len(words) > 3)]
    said += [_area(patches, layout)] if patches else []
    return " and ".join(filter(None, said))


def _area(patches: list[int], layout: TokenLayout) -> str:
    """Patches by their rows and columns; how many, where they are not all that lie in these."""
    if len(patches) == int((layout.row >= 0).sum()):
        return "the picture"
    rows, columns = ({int(axis[at]) for at in patches} for axis in (layout.row, layout.column))
    (high, low), (left, right) = ((min(each), max(each)) for each in (rows, columns))
    place = f"{_from_to('row', high, low)}, {_from_to('column', left, right)}"
    if len(patches) == (low - high + 1) * (right - left + 1):
        return f"the patch in {place}" if len(patches) == 1 else f"the patches in {place}"
    return f"{len(patches)} patches in {place}"


def _from_to(what: str, first: int, last: int) -> str:
    return f"{what} {first}" if first == last else f"{what}s {first} to {last}"


def where_layers(layers: tuple[int, ...] | None) -> str:
    """Which layers, in words."""
    if layers is None:
        return "all layers"
    first, last = layers[0], layers[-1]
    return f"layer {first}" if first == last else f"layers {first} to {last}"


def _plain(value: Any) -> Any:
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def _numbers(value: Any, what: str) -> tuple[int, ...]:
    return wholes(value, what, least=0)


def _signed(value: Any, what: str) -> tuple[int, ...]:
    found = wholes(value, what)
    if len(found) != 2:
        raise InputError(f"{what}={list(found)}: rows and columns are wanted, such as [0, 2]")
    return found


def _pairs(value: Any, what: str) -> tuple[tuple[int, ...], ...]:
    if not isinstance(value, list | tuple) or not value:
        raise InputError(f"{what} wants [layer, head] of at least one head")
    found = tuple(wholes(each, what, least=0) for each in value)
    if any(len(each) != 2 for each in found):
        raise InputError(f"{what} wants [layer, head] of every head")
    return found


#: How fields are checked, by what they are annotated as.
KINDS_OF_DATA = RULES | {
    frozenset({tuple[int, ...]}): _numbers,
    frozenset({tuple[int, int]}): _signed,
    frozenset({tuple[tuple[int, ...], ...]}): _pairs,
}
