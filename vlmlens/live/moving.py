"""Where positions stand in another prompt, and which edits can stay."""

from collections.abc import Mapping, Sequence

from vlmlens.errors import VLMLensError
from vlmlens.layout import TokenLayout
from vlmlens.live.edits import LiveEdit


def mapped(old: TokenLayout, new: TokenLayout) -> dict[int, int]:
    """Positions of one prompt in another: those of the common beginning and the common end.

    Positions are the same where they play one role, hold one token and, of an image, look at one
    cell.
    """
    one, other = _marks(old), _marks(new)
    size = min(len(one), len(other))
    begin = next((at for at in range(size) if one[at] != other[at]), size)
    end = next((at for at in range(size - begin) if one[-1 - at] != other[-1 - at]), size - begin)
    same = {at: at for at in range(begin)}
    return same | {len(one) - at: len(other) - at for at in range(1, end + 1)}


def carried(
    edits: Sequence[LiveEdit], old: TokenLayout, new: TokenLayout
) -> tuple[tuple[LiveEdit, ...], list[dict[str, str]]]:
    """The edits that can stay, moved to where their positions stand, and why the others cannot."""
    to = mapped(old, new)
    kept: list[LiveEdit] = []
    dropped: list[dict[str, str]] = []
    for edit in edits:
        lost = sorted({at for at in edit.places() if at not in to})
        if lost:
            named = ", ".join(f"{old.tokens[at]!r} (position {at})" for at in lost[:3])
            more = f" and {len(lost) - 3} more" * (len(lost) > 3)
            dropped.append(why(edit, old, f"the prompt no longer has {named}{more} where it was"))
        else:
            kept.append(edit.moved(to))
    return tuple(kept), dropped


def why(edit: LiveEdit, layout: TokenLayout, reason: str | VLMLensError) -> dict[str, str]:
    """An edit that was dropped, and the reason."""
    return {"label": edit.label(layout), "reason": str(reason)}


def _marks(layout: TokenLayout) -> list[tuple[object, ...]]:
    columns: Mapping[str, Sequence[int]] = {
        name: getattr(layout, name).tolist() for name in ("image", "tile", "row", "column")
    }
    return list(zip(layout.roles, layout.tokens, *columns.values(), strict=True))
