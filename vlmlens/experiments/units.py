"""Units: what one cell of a sweep edits: a position, a role, a row of the image, a head."""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace

from vlmlens.checks import one_of
from vlmlens.errors import EmptySelectionError, InputError
from vlmlens.interventions import Intervention
from vlmlens.layout import ROLES, TokenLayout
from vlmlens.model import WiredPoint
from vlmlens.positions import At, Cell, Column, Role, Row, Selection, as_selection, indices
from vlmlens.select import Where

Label = int | str | tuple[int, int]


def each_position(layout: TokenLayout) -> dict[Label, Selection]:
    """Every position."""
    return {at: At(at) for at in range(len(layout))}


def each_role(layout: TokenLayout) -> dict[Label, Selection]:
    """All positions of a role together."""
    return {role: Role(role) for role in ROLES if role in layout.roles}


def each_row(layout: TokenLayout) -> dict[Label, Selection]:
    """The rows of the first image, from the top."""
    return {row: Row(row, image=0) for row in range(layout.grid(0)[0])}


def each_column(layout: TokenLayout) -> dict[Label, Selection]:
    """The columns of the first image, from the left."""
    return {column: Column(column, image=0) for column in range(layout.grid(0)[1])}


def each_cell(layout: TokenLayout) -> dict[Label, Selection]:
    """The cells of the first image's grid."""
    rows, columns = layout.grid(0)
    return {(r, c): Cell(r, c, image=0) for r in range(rows) for c in range(columns)}


#: What ``over`` may say, beside ``"head"``.
PLACES: dict[str, Callable[[TokenLayout], Mapping[Label, Selection]]] = {
    "pos": each_position,
    "role": each_role,
    "row": each_row,
    "column": each_column,
    "cell": each_cell,
}


def units(over: str, layout: TokenLayout, point: WiredPoint, where: Where) -> dict[Label, Where]:
    """What each cell of a layer edits, by its label.

    Args:
        over: one of ``PLACES``, or ``"head"``.
        layout: the sample's.
        point: the point that is edited.
        where: confines every cell.

    Raises:
        InputError: an unknown unit, or one that the point does not have.
        EmptySelectionError: nothing is left within ``where``.
    """
    if over == "head":
        axis = next((axis for axis in ("kv_head", "head") if axis in point.axes), None)
        if axis is None:
            raise InputError(f"{point.name} has the axes {' '.join(point.axes)}: there is no head")
        heads = point.size(axis)
        meant = indices(range(heads) if where.heads is None else where.heads, heads, axis)
        return {head: replace(where, heads=head) for head in meant}
    one_of(over, "over", PLACES, ", head")
    side = "queries" if "query" in point.axes else "positions"
    within = getattr(where, side)
    found: dict[Label, Where] = {}
    for label, selection in PLACES[over](layout).items():
        meant = selection if within is None else selection & as_selection(within)
        if meant.mask(layout).any():
            found[label] = replace(where, **{side: meant})
    if not found:
        raise EmptySelectionError(f"over={over!r} within {where!r} means nothing here: {layout!r}")
    return found


def is_placed(edit: Intervention) -> bool:
    """Whether an edit has a point or a place of its own, which a sweep would overrule."""
    own = {item.name: item for item in fields(edit)}
    defaults = own["point"].default, own["where"].default_factory
    where = defaults[1]() if callable(defaults[1]) else own["where"].default
    return edit.point != defaults[0] or edit.where != where
