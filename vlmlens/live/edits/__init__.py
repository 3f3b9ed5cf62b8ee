"""One kind of edit per file: data that the page sends, and the interventions it stands for."""

from collections.abc import Mapping
from inspect import signature
from typing import Any

from vlmlens.annotations import settled
from vlmlens.checks import one_of, shown
from vlmlens.errors import InputError
from vlmlens.live.edits.base import KINDS_OF_DATA, LiveEdit
from vlmlens.live.edits.block import Block
from vlmlens.live.edits.cell import Cell
from vlmlens.live.edits.heads import Heads
from vlmlens.live.edits.norms import Norms
from vlmlens.live.edits.patch import Patch
from vlmlens.live.edits.positions import Positions
from vlmlens.live.edits.tokens import Tokens

#: Every kind of edit by its name.
EDITS: dict[str, type[LiveEdit]] = {
    "heads": Heads,
    "block": Block,
    "tokens": Tokens,
    "positions": Positions,
    "norms": Norms,
    "patch": Patch,
    "cell": Cell,
}


def as_edit(given: Any) -> LiveEdit:
    """What the page sent, as an edit.

    Raises:
        InputError: no mapping, no such kind, or fields that this kind does not have or take.
    """
    if not isinstance(given, Mapping):
        raise InputError(f"{shown(given)} is no edit: {{'kind': 'heads', ...}} is wanted")
    fields = dict(given)
    kind = one_of(fields.pop("kind", None), "kind", EDITS)
    known = signature(EDITS[kind]).parameters.values()
    if missing := [p.name for p in known if p.default is p.empty and p.name not in fields]:
        raise InputError(f"an edit of the kind {kind!r} needs {', '.join(missing)}")
    return EDITS[kind](**settled(EDITS[kind], fields, KINDS_OF_DATA))


def as_json(edit: LiveEdit) -> dict[str, Any]:
    """An edit as the page sends it."""
    kind = next(name for name, of in EDITS.items() if type(edit) is of)
    return {"kind": kind, **edit.fields()}
