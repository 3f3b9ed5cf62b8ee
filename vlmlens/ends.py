"""Ends of edges, by their names: ``"L2H1.v@vision"`` is what a head's values read at the image."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vlmlens.checks import shown
from vlmlens.errors import InputError

NAME = re.compile(
    r"(?P<single>image|text|logits)|deepstack(?P<deep>\d+)|A(?P<attention>\d+)|M(?P<mlp>\d+)"
    r"|L(?P<layer>\d+)H(?P<head>\d+)(\.(?P<side>[qkv]))?"
)


@dataclass(frozen=True)
class End:
    """One end of an edge.

    Attributes:
        label: its name as tables have it.
        kind: what it is, as ``Node`` has it.
        layer: its block.
        head: which head, or -1.
        side: what of a head reads, or "".
        place: where, or "".
    """

    label: str
    kind: str
    layer: int
    head: int
    side: str
    place: str

    @property
    def enters(self) -> bool:
        """Whether it comes into the stream from outside."""
        return self.kind in ("image", "text", "deepstack")

    @property
    def depth(self) -> tuple[bool, int, int]:
        """Where it stands in a pass: at the end, or in which block, and in what of it."""
        late = {"deepstack": -1, "mlp": 1}.get(self.kind, 0)
        return self.kind == "logits", self.layer, late

    def order(self, places: Sequence[str]) -> tuple[bool | int | str, ...]:
        """What ends are sorted by: when a pass reaches them, and then their places."""
        at = [*places, ""].index(self.place)
        sides = ("", "q", "k", "v").index(self.side)
        return (*self.depth, self.kind, sides, self.head, at)

    def node(self, grouped: int) -> str:
        """The node that it belongs to, whatever it reads or writes there."""
        name = self.label.partition("@")[0].partition(".")[0]
        if grouped > 1 and self.side in ("k", "v"):
            name = f"L{self.layer}KV{self.head}"
        return f"{name}@{self.place}" if self.place else name


def read_end(label: Any) -> End:
    """One end of an edge, by its name.

    Raises:
        InputError: a name that means none.
    """
    name, _, place = label.partition("@") if isinstance(label, str) else ("", "", "")
    found = NAME.fullmatch(name)
    if found is None:
        raise InputError(
            f"{shown(label)} names no node: image, text, logits, deepstack1, A0, M0, L0H1 and "
            "L0H1.q do, with @place behind it where nodes are split"
        )
    said = found.groupdict()
    if said["single"]:
        kind = said["single"]
        return End(label, kind, -1, -1, "", place)
    for kind in ("mlp", "attention", "deep"):
        if said[kind] is not None:
            return End(label, kind.replace("deep", "deepstack"), int(said[kind]), -1, "", place)
    return End(label, "head", int(said["layer"]), int(said["head"]), said["side"] or "", place)


def read_edge(given: Any) -> tuple[End, End]:
    """A writer and a reader.

    Raises:
        InputError: names that mean none, or a writer that comes after its reader.
    """
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise InputError(f"{shown(given)} is no edge: (writer, reader) is wanted")
    one, other = map(read_end, given)
    if one.side or one.kind == "logits":
        raise InputError(f"{one.label} writes nothing: an edge is (writer, reader)")
    if other.enters or (other.kind == "head" and not other.side):
        raise InputError(
            f"{other.label} reads nothing: a reader is a head's .q, .k or .v, an MLP, or logits"
        )
    if other.kind != "logits" and one.place != other.place:
        raise InputError(f"{one.label} and {other.label} are at two places: nothing is told")
    if not one.depth < other.depth:
        raise InputError(f"{one.label} writes after {other.label} reads")
    return one, other


def leads(reader: End, writer: End, grouped: int) -> bool:
    """Whether what is read at one end is part of what is written at another, by the same node.

    A query is of the position where its head writes; keys and values may stand anywhere before it.

    Args:
        reader: an end that reads.
        writer: an end that writes.
        grouped: how many query heads share a key-value head.
    """
    if (reader.kind, reader.layer) != (writer.kind, writer.layer):
        return False
    if reader.kind == "mlp":
        return reader.place == writer.place
    if reader.kind != "head":
        return reader.kind == "attention"
    if reader.side == "q":
        return (reader.head, reader.place) == (writer.head, writer.place)
    return reader.head == writer.head // grouped


def ways(ends: Iterable[tuple[End, End]], grouped: int) -> list[tuple[End, End]]:
    """Where heads carry what they read at one place to another, in a set of edges."""
    ends = list(ends)
    read, written = (list(dict.fromkeys(edge[side] for edge in ends)) for side in (1, 0))
    return [
        (into, out)
        for into in read
        for out in written
        if leads(into, out, grouped) and into.node(grouped) != out.node(grouped)
    ]
