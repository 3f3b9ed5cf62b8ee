"""Where the nodes of a graph stand: blocks upward, places side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from vlmlens.ends import End

#: How much of a place's column its heads take; what is right of them is the MLP's.
SPREAD = 0.62


@dataclass(frozen=True)
class Grid:
    """Where nodes stand.

    Attributes:
        places: the columns.
        heads: how many heads a row has room for.
        blocks: how many blocks there are.
        grouped: how many query heads share a key-value head.
        end: the column of the last position.
    """

    places: tuple[str, ...]
    heads: int
    blocks: int
    grouped: int
    end: int

    @classmethod
    def of(cls, ends: Sequence[End], grouped: int) -> "Grid":
        """Room for these: places with image leaves first, the last position's last."""
        own = [end for end in ends if end.kind != "logits"]
        last = [one.place for one, other in zip(ends[::2], ends[1::2], strict=True)
                if other.kind == "logits"]  # fmt: skip
        image = {end.place for end in own if end.kind == "image"}
        places = sorted(
            dict.fromkeys(end.place for end in own),
            key=lambda place: (place in last, place not in image),
        )
        queries = [
            end.head * (grouped if end.side in ("k", "v") else 1) for end in own if end.head >= 0
        ]
        return cls(
            tuple(places),
            -(-(max(queries, default=0) + 1) // grouped) * grouped,
            max(end.layer for end in own) + 1,
            grouped,
            places.index(last[0]) if last else len(places) - 1,
        )

    def at(self, end: End) -> tuple[float, float]:
        """Where the node of an end stands."""
        column = float(self.end if end.kind == "logits" else self.places.index(end.place))
        if end.kind in ("image", "text"):
            return column + (-0.2 if end.kind == "image" else 0.2), -1.3
        if end.kind == "deepstack":
            return column - 0.45, 2 * end.layer - 0.6
        if end.kind == "logits":
            return column, 2 * self.blocks + 0.1
        if end.kind != "head":
            return column + 0.38, 2 * end.layer + (end.kind == "mlp") * 0.8
        shared = self.grouped > 1 and end.side in ("k", "v")
        head = end.head * self.grouped + (self.grouped - 1) / 2 if shared else end.head
        spot = SPREAD * (head - (self.heads - 1) / 2) / max(self.heads, 2)
        return column - 0.1 + spot, 2 * end.layer - 0.3 * shared

    def rows(self) -> tuple[list[float], list[str]]:
        """The rows' places and names."""
        layers = range(self.blocks)
        found = [(-1.3, "comes in"), (2 * self.blocks + 0.1, "goes out")]
        found += [(2.0 * layer, f"block {layer}: attention") for layer in layers]
        found += [(2 * layer + 0.8, "MLP") for layer in layers]
        return [at for at, _ in found], [word for _, word in found]


def bent(
    start: tuple[float, float], stop: tuple[float, float]
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
    """A line that leaves and arrives upward, and swerves around what stands between."""
    (x0, y0), (x1, y1) = start, stop
    t = np.linspace(0, 1, 17)
    far = abs(x1 - x0) < 0.05 and y1 - y0 > 1.5
    swerve = 0.04 * (y1 - y0) * far * np.sin(np.pi * t)
    ease = t * t * (3 - 2 * t)
    return x0 + (x1 - x0) * ease + swerve, y0 + (y1 - y0) * t
