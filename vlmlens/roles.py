"""What positions can be: roles, kinds, turns, and those that are put around others."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

#: Every role that a position can play.
#: ``template`` is what the chat template writes around the messages: role tags and line ends.
ROLES = ("bos", "system", "template", "user", "vision", "assistant", "pad")

#: What a position can be of an image: nothing; a patch of it, or of a small copy of all of it;
#: a learned token that ends a row; a learned token that stands for no place; a word of the
#: template between rows, tiles or images.
KINDS = ("", "patch", "thumbnail", "newline", "register", "separator")

#: What a layout counts of every position; -1 where there is nothing to count.
COUNTED = ("turn", "image", "video", "frame", "tile", "row", "column")


def turns_of(roles: Sequence[str]) -> Int[np.ndarray, " pos"]:
    """The turn of every position, by the order of the roles; see ``TokenLayout.turn``.

    What the template writes is of the turn of what follows.
    """
    turn, answered = -1, True
    found = np.full(len(roles), -1)
    waiting: list[int] = []
    for at, role in enumerate(roles):
        if role in ("bos", "pad"):
            continue
        waiting.append(at)
        if role == "template":
            continue
        if role in ("user", "vision") and answered:
            turn, answered = turn + 1, False
        if role == "assistant":
            turn, answered = max(turn, 0), True
        found[waiting] = turn
        waiting = []
    found[waiting] = max(turn, 0)
    return found


def lengthened(layout: Any, before: int, after: int, role: str) -> dict[str, Any]:
    """A layout's fields with positions of one role around, which are of no image and no turn."""

    def texts(own: tuple[str, ...], blank: str = "") -> tuple[str, ...]:
        return (blank,) * before + own + (blank,) * after

    def numbers(own: Int[np.ndarray, " pos"]) -> Int[np.ndarray, " longer"]:
        return np.pad(own, (before, after), constant_values=-1)

    return {
        "roles": texts(layout.roles, role),
        "box": np.pad(layout.box, ((before, after), (0, 0)), constant_values=np.nan),
        "seconds": np.pad(layout.seconds, (before, after), constant_values=np.nan),
        **{name: texts(getattr(layout, name)) for name in ("tokens", "kind", "spelled")},
        **{name: numbers(getattr(layout, name)) for name in COUNTED},
    }
