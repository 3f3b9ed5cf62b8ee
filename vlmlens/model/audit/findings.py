"""What an audit finds: points, invariants, and the table that shows them."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from html import escape
from math import isnan
from typing import Any

LEGEND = (
    "layers: how many offer the point; reached: how many of these the pass came to;",
    "edits arrive: from how many of the first, the middle and the last an edit moves the logits.",
)


@dataclass(frozen=True)
class PointReport:
    """One kind of point, over all layers.

    Attributes:
        name: with ``*`` for the layer.
        axes: of the activation; empty where there is no such point.
        layers: in how many layers it is offered; 1 for points that exist once.
        fires: how many of them one pass reaches.
        tried: in how many an edit was tried: the first, the middle and the last.
        edited: in how many of those the edit reached the logits.
        absent: why it is not offered, somewhere.
    """

    name: str
    axes: str
    layers: int
    fires: int
    tried: int
    edited: int
    absent: str = ""

    @property
    def holds(self) -> bool:
        """Whether every one that is offered fires, and every edit arrives."""
        return self.fires == self.layers and self.edited == self.tried


@dataclass(frozen=True)
class Invariant:
    """Two ways of computing one thing, and by how much they differ.

    Attributes:
        name: what should hold.
        difference: the largest, relative to the largest entry; NaN where it does not apply,
            infinite where one of the two ways does not go.
        bound: what it may be.
        note: why it does not apply, or does not go.
    """

    name: str
    difference: float
    bound: float
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether the difference is within its bound, or it does not apply."""
        return bool(self.note) if isnan(self.difference) else self.difference <= self.bound


@dataclass(frozen=True)
class Audit:
    """Points and invariants of one model.

    Attributes:
        model: what results call it.
        family: its ``model_type``.
        recognised: whether its points were recognised, without a family of its own.
        transformers: its version.
        torch: its version.
        dtype: of the weights.
        attention: how the language model computes it.
        points: every kind of point.
        invariants: what was measured.
        error: what opening or running it ended in, if nothing could be measured.
    """

    model: str
    family: str
    recognised: bool
    transformers: str
    torch: str
    dtype: str
    attention: str
    points: tuple[PointReport, ...]
    invariants: tuple[Invariant, ...]
    error: str = ""

    @property
    def holds(self) -> bool:
        """Whether every point fires and is editable, and every invariant holds."""
        return not self.error and all(item.holds for item in (*self.points, *self.invariants))

    @property
    def laws(self) -> tuple[Invariant, ...]:
        """``invariants``, as version 0.3 called them."""
        return self.invariants

    def rows(self) -> Iterable[tuple[str, str, str, str, str]]:
        """The table of points: name, axes, layers, reached, edits that arrive."""
        for p in self.points:
            there = f"{p.layers}" if p.layers else f"no: {p.absent}"
            reached = f"{p.fires} of {p.layers}" if p.layers else ""
            edits = f"{p.edited} of {p.tried}" if p.tried else ""
            yield p.name, p.axes, there, reached, edits

    def to_dict(self) -> dict[str, Any]:
        """Everything in it, as plain values."""
        return asdict(self) | {"holds": self.holds}

    def __str__(self) -> str:
        if self.error:
            return f"{self.model}: FAILED: {self.error}"
        heads = ("point", "axes", "layers", "reached", "edits arrive")
        table = [heads, *self.rows()]
        widths = [
            max(len(row[i]) for row in table if not row[2].startswith("no")) for i in range(5)
        ]
        lines = [
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
            for row in table
        ]
        lines += ["", *LEGEND]
        how = ", points recognised without a family" if self.recognised else ""
        lines += [
            "",
            f"{self.model} ({self.family}{how}); transformers {self.transformers}, "
            f"torch {self.torch}, {self.dtype}, attention {self.attention}",
            "",
        ]
        for each in self.invariants:
            found = each.note or f"{each.difference:.1e}, bound {each.bound:.0e}"
            lines.append(f"{'ok  ' if each.holds else 'FAIL'}  {each.name}: {found}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"
