"""Units: what one cell of a sweep edits: a position, a role, a row of the image, a head."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any, TypeAlias

import numpy as np

from vlmlens.checks import one_of, shown
from vlmlens.errors import EmptySelectionError, InputError
from vlmlens.interventions import Intervention
from vlmlens.layout import ROLES, TokenLayout
from vlmlens.model import WiredPoint
from vlmlens.positions import At, Cell, Column, Region, Role, Row, Selection, as_selection, indices
from vlmlens.select import Where

Label: TypeAlias = tuple[int | str, ...]
#: What is swept over: one kind of unit, or several at once, of which every combination is a cell.
Over: TypeAlias = str | tuple[str, ...] | list[str]


def each_position(layout: TokenLayout) -> dict[Label, Selection]:
    """Every position."""
    return {(at,): At(at) for at in range(len(layout))}


def each_role(layout: TokenLayout) -> dict[Label, Selection]:
    """All positions of a role together."""
    return {(role,): Role(role) for role in ROLES if role in layout.roles}


def each_row(layout: TokenLayout) -> dict[Label, Selection]:
    """The rows of the first image, from the top: of all its tiles, the same row together."""
    return {(row,): Row(row, image=0) for (row,) in _shown(layout, "row")}


def each_column(layout: TokenLayout) -> dict[Label, Selection]:
    """The columns of the first image, from the left: of all its tiles, the same one together."""
    return {(column,): Column(column, image=0) for (column,) in _shown(layout, "column")}


def each_cell(layout: TokenLayout) -> dict[Label, Selection]:
    """The cells of the first image's grid: of all its tiles, the same cell together."""
    return {(r, c): Cell(r, c, image=0) for r, c in _shown(layout, "row", "column")}


def each_tile(layout: TokenLayout) -> dict[Label, Selection]:
    """The tiles of the first image, its thumbnail among them; of a video, its frames."""
    return {(tile,): Region(image=0, tile=tile) for (tile,) in _shown(layout, "tile")}


def _shown(layout: TokenLayout, *names: str) -> list[Sequence[int]]:
    """Which rows, columns or tiles the first image's patches are of, each once, in order."""
    here = (layout.image == 0) & (layout.row >= 0) & ~layout.mask("pad")
    if not here.any():
        raise EmptySelectionError(f"no image whose rows and columns could be swept: {layout!r}")
    return np.unique([getattr(layout, name)[here] for name in names], axis=1).T.tolist()


#: Places in the sequence that ``over`` may name.
PLACES: dict[str, Callable[[TokenLayout], Mapping[Label, Selection]]] = {
    "pos": each_position,
    "role": each_role,
    "row": each_row,
    "column": each_column,
    "cell": each_cell,
    "tile": each_tile,
}
#: The same along one side of scores and patterns: ``"query"`` and ``"key"`` are its positions.
SIDES = {"query": "queries", "key": "keys"}
SIDED = [f"{side}{'' if place == 'pos' else '_' + place}" for side in SIDES for place in PLACES]
#: What else ``over`` may name: parts of a point's own axes, or all of it.
AXES = {
    "head": ("kv_head", "head"),
    "neuron": ("d_mlp",),
    "feature": ("d_sae",),
    "patch": ("patch", "pos"),
}
#: What says in ``Where`` which of them.
FIELDS = {"head": "heads", "neuron": "neurons", "feature": "neurons", "patch": "patches"}
KINDS = (*PLACES, *SIDED, *AXES, "layer")


@dataclass(frozen=True)
class Units:
    """What the cells of a layer edit.

    Attributes:
        dims: what the entries of a label are.
        cells: every cell's part of a point, by its label.
    """

    dims: tuple[str, ...]
    cells: Mapping[Label, Where]


#: How long a point's axes are in a pass.
Shape: TypeAlias = Callable[[], Sequence[int]]


def units(over: Over, layout: TokenLayout, point: WiredPoint, where: Where, shape: Shape) -> Units:
    """What each cell of a layer edits, by its label.

    Args:
        over: one of ``KINDS``, or several, of which every combination is a cell.
        layout: the sample's.
        point: the point that is edited.
        where: confines every cell.
        shape: asked where the point's own axes are swept over.

    Raises:
        InputError: an unknown unit, or one that the point does not have.
        EmptySelectionError: nothing is left within ``where``.
    """
    kinds = as_over(over)
    found: dict[Label, Where] = {(): where}
    for kind in kinds:
        made: dict[Label, Where] = {}
        for (label, place), (more, change) in product(
            found.items(), _changes(kind, layout, point, where, shape).items()
        ):
            if (confined := change(place)) is not None:
                made[label + more] = confined
        found = made
    if not found:
        raise EmptySelectionError(f"over={over!r} within {where!r} means nothing here: {layout!r}")
    return Units(tuple(dim for kind in kinds for dim in dims_of(kind)), found)


def as_over(over: Over) -> tuple[str, ...]:
    """The units that are swept over, checked.

    Raises:
        InputError: no such unit, none, or one twice.
    """
    kinds = (over,) if isinstance(over, str) else over
    if not isinstance(kinds, tuple | list) or not kinds:
        raise InputError(f"over={shown(over)}: a unit is wanted, or several, of {', '.join(KINDS)}")
    for kind in kinds:
        one_of(kind, "over", KINDS)
    dims = [dim for kind in kinds for dim in dims_of(kind)]
    if len(set(dims)) < len(dims):
        raise InputError(f"over={shown(over)}: every dimension of the map comes once")
    return tuple(kinds)


def dims_of(kind: str) -> tuple[str, ...]:
    """The dimensions that a unit's label has."""
    if kind == "layer":
        return ()
    if not kind.endswith("cell"):
        return (kind,)
    side = kind.removesuffix("cell")
    return (f"{side}row", f"{side}column")


def tiles_together(dims: Sequence[str], layout: TokenLayout) -> int | None:
    """On how many tiles of the first image each unit lies; None where units are of no grid.

    Args:
        dims: of the units, as ``dims_of`` gives them.
        layout: the sample's.
    """
    for side in ("", *(f"{side}_" for side in SIDES)):
        if {f"{side}row", f"{side}column"} & {*dims} and f"{side}tile" not in dims:
            return len(each_tile(layout))
    return None


Change: TypeAlias = Callable[[Where], Where | None]


def _changes(
    kind: str, layout: TokenLayout, point: WiredPoint, where: Where, shape: Shape
) -> Mapping[Label, Change]:
    """How a unit confines a place, by its label; to None where nothing is left."""
    if kind == "layer":
        return {(): lambda place: place}
    if kind in AXES:
        field = FIELDS[kind]
        numbers = _numbers(kind, point, getattr(where, field), shape)
        return {
            (number,): lambda place, number=number: replace(place, **{field: number})
            for number in numbers
        }
    side, _, place = kind.partition("_")
    if side not in SIDES:
        side, place = ("query" if "query" in point.axes else "pos"), kind
    field, projected = SIDES.get(side, "positions"), point.axes[:2] == ("image", "patch")
    if "batch" not in point.axes and not (projected and side == "pos"):
        raise InputError(
            f"{point.name} has the axes {' '.join(point.axes)}, and no places in the sequence: "
            "over='patch' means its own positions"
        )
    if side not in point.axes and not projected:
        raise InputError(f"{point.name} has the axes {' '.join(point.axes)}: there is no {side}")
    chosen = PLACES[place or "pos"](layout).items()
    if projected:
        chosen = [(label, Role("vision") & selection) for label, selection in chosen]
    return {
        label: lambda place, selection=selection: _confined(place, field, selection, layout)
        for label, selection in chosen
    }


def _confined(place: Where, field: str, selection: Selection, layout: TokenLayout) -> Where | None:
    within = getattr(place, field)
    meant = selection if within is None else selection & as_selection(within)
    return replace(place, **{field: meant}) if meant.mask(layout).any() else None


def _numbers(kind: str, point: WiredPoint, within: Any, shape: Shape) -> Sequence[int]:
    """The heads, neurons or patches that are meant."""
    axis = next((axis for axis in AXES[kind] if axis in point.axes), None)
    if axis is None or (axis == "pos" and "image" not in point.axes):
        raise InputError(f"{point.name} has the axes {' '.join(point.axes)}: there is no {kind}")
    size = shape()[point.axes.index(axis)]
    return indices(range(size) if within is None else within, size, axis)


def is_placed(edit: Intervention) -> bool:
    """Whether an edit has a point or a place of its own, which a sweep would overrule."""
    own = {item.name: item for item in fields(edit)}
    defaults = own["point"].default, own["where"].default_factory
    where = defaults[1]() if callable(defaults[1]) else own["where"].default
    return edit.point != defaults[0] or edit.where != where
