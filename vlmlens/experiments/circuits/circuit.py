"""Circuits as values: a set of edges, and what can be made of it without a model."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from vlmlens.annotations import Checked, checked
from vlmlens.checks import one_of, shown, whole
from vlmlens.ends import leads, read_edge, ways
from vlmlens.errors import DataError, InputError
from vlmlens.experiments.circuits.tables import graph_of, mean_of

#: The version of the files that circuits are written to.
FORMAT = "vlmlens circuit 1"
RANKS = ("size", "value")


@dataclass(frozen=True)
class Circuit(Checked):
    """Some of a model's edges; everything else is taken to be noise.

    Circuits are equal when their edges are, and combine as sets do: ``|``, ``&``, ``-``.

    Attributes:
        edges: (writer, reader), by the names in the table that ``edges`` returns; kept in the order
            of a pass.
        places: the names of the places that nodes are split by, in their order.
        grouped: how many query heads share a key-value head.

    Raises:
        InputError: what is no edge: a name that means no node, or a writer after its reader.

    Examples:
        >>> from vlmlens.experiments import Circuit
        >>> one = Circuit([("image", "L0H1.v"), ("L0H1", "logits")])
        >>> other = Circuit([("image", "M0"), ("L0H1", "logits")])
        >>> len(one | other), (one & other).edges, (one - other).edges
        (3, (('L0H1', 'logits'),), (('image', 'L0H1.v'),))
    """

    edges: Sequence[tuple[str, str]]
    places: Sequence[str] = ()
    grouped: int = 1

    def __post_init__(self):
        given: Any = self.edges
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise InputError(f"edges={shown(given)}: pairs of names, (writer, reader), are wanted")
        ends = {read_edge(each) for each in given}
        object.__setattr__(self, "places", tuple(self.places))
        if lost := {end.place for edge in ends for end in edge if end.place} - set(self.places):
            raise InputError(
                f"edges are at the place {min(lost)!r}; this circuit's places are "
                f"{', '.join(self.places) or 'none'}: places=(..., {min(lost)!r})"
            )
        whole(self.grouped, "grouped", least=1)
        order = sorted(ends, key=lambda edge: tuple(end.order(self.places) for end in edge))
        object.__setattr__(self, "edges", tuple((a.label, b.label) for a, b in order))

    @classmethod
    @checked
    def top(
        cls, edges: xr.DataArray, n: int, *, by: Literal["size", "value"] = "size"
    ) -> "Circuit":
        """The n edges of the largest mean over samples.

        Args:
            edges: (sample, writer, reader) as ``experiments.edges`` returns it, or a mean of it.
            n: how many.
            by: ``"size"``, in either direction; ``"value"``, those alone that restore the answer
                most.

        Raises:
            InputError: another table, or more edges than there are.

        Examples:
            >>> pairs = vl.datasets.counterfactual_pairs(2, kind="swap")
            >>> found = vl.experiments.edges(model, pairs, progress=False)
            >>> circuit = vl.experiments.Circuit.top(found, 20)
            >>> len(circuit), len(vl.experiments.Circuit.top(found, 10) - circuit)
            (20, 0)
        """
        mean = mean_of(edges)
        one_of(by, "by", RANKS)
        there = np.argwhere(np.isfinite(mean.values))
        if whole(n, "n", least=0) > len(there):
            raise InputError(f"n={n}: the table has {len(there)} edges")
        values = mean.values[tuple(there.T)]
        order = np.argsort(-(np.abs(values) if by == "size" else values), kind="stable")[:n]
        names = [mean[dim].values for dim in ("writer", "reader")]
        picked = [(str(names[0][row]), str(names[1][column])) for row, column in there[order]]
        return cls(tuple(picked), *graph_of(edges))

    @classmethod
    def every(cls, edges: xr.DataArray) -> "Circuit":
        """All edges of a table: the whole model, where none were left out.

        Examples:
            >>> pairs = vl.datasets.counterfactual_pairs(1, kind="swap")
            >>> found = vl.experiments.edges(model, pairs, readers="L1H*.q", progress=False)
            >>> len(vl.experiments.Circuit.every(found))  # 2 embeddings, 4 heads and an MLP to 4
            28
        """
        return cls.top(edges, int(np.isfinite(mean_of(edges).values).sum()))

    def pruned(self) -> "Circuit":
        """The edges on some way from what comes in to the logits; no other can matter.

        What a head's query reads at a place goes on from there, what its keys and values read from
        any place. Places do not say what comes earlier, so an edge may stay that can do nothing.

        Examples:
            >>> from vlmlens.experiments import Circuit
            >>> dead = Circuit([("image", "M0"), ("M0", "L1H0.q"), ("image", "logits")])
            >>> dead.pruned().edges
            (('image', 'logits'),)
        """
        ends = [read_edge(edge) for edge in self.edges]
        while True:
            alive = [
                (one, other)
                for one, other in ends
                if (one.enters or any(leads(into, one, self.grouped) for _, into in ends))
                and (
                    other.kind == "logits"
                    or any(leads(other, out, self.grouped) for out, _ in ends)
                )
            ]
            if len(alive) == len(ends):
                return self._with((one.label, other.label) for one, other in alive)
            ends = alive

    def among(self, edges: xr.DataArray) -> xr.DataArray:
        """A table's values of the circuit's edges, NaN elsewhere; what ``plots.circuit`` draws.

        Raises:
            InputError: another table, or one that lacks some of these edges.

        Examples:
            >>> pairs = vl.datasets.counterfactual_pairs(1, kind="swap")
            >>> found = vl.experiments.edges(model, pairs, steps=0, progress=False)
            >>> circuit = vl.experiments.Circuit([("image", "M0"), ("M2", "logits")])
            >>> int(circuit.among(found).notnull().sum())
            2
        """
        there = np.isfinite(mean_of(edges).values)
        rows, columns = (
            {str(name): at for at, name in enumerate(edges[dim].values)}
            for dim in ("writer", "reader")
        )
        mine = np.zeros_like(there)
        for one, other in self.edges:
            at = rows.get(one, -1), columns.get(other, -1)
            if min(at) < 0 or not there[at]:
                raise InputError(f"the table has no edge {one} -> {other}, which {self!r} has")
            mine[at] = True
        kept = xr.DataArray(mine, dims=("writer", "reader"))
        return edges.transpose(..., "writer", "reader").where(kept.values)

    def to_json(self, path: str | Path | None = None) -> str:
        """The circuit as text, and in a file where a path is given.

        Examples:
            >>> from vlmlens.experiments import Circuit
            >>> circuit = Circuit([("image", "M0")])
            >>> Circuit.from_json(circuit.to_json()) == circuit
            True
        """
        said = {
            "format": FORMAT,
            "places": list(self.places),
            "grouped": self.grouped,
            "edges": [list(edge) for edge in self.edges],
        }
        text = json.dumps(said, indent=1)
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    @classmethod
    def from_json(cls, given: str | Path) -> "Circuit":
        """A circuit of what ``to_json`` wrote: its text, or a file's path.

        Raises:
            DataError: no such file, or anything else in it.

        Examples:
            >>> from vlmlens.experiments import Circuit
            >>> Circuit.from_json('{"edges": []}')
            Traceback (most recent call last):
            vlmlens.errors.DataError: ... no circuit ...
        """
        text = str(given)
        if not text.lstrip().startswith("{"):
            try:
                text = Path(given).read_text(encoding="utf-8")
            except OSError as error:
                raise DataError(f"no circuit can be read at {given}: {error}") from error
        try:
            said = json.loads(text)
            if said["format"] != FORMAT:
                raise KeyError(said["format"])
            edges = tuple((str(one), str(other)) for one, other in said["edges"])
            return cls(edges, tuple(said["places"]), said["grouped"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"this is no circuit that to_json wrote ({FORMAT!r}): {error!r}"
            ) from error

    def to_dot(self) -> str:
        """The circuit in Graphviz's language; a head's way from place to place is dashed.

        Examples:
            >>> from vlmlens.experiments import Circuit
            >>> print(Circuit([("image", "M0")]).to_dot())
            digraph circuit {
              rankdir=BT;
              "image" -> "M0";
            }
        """
        ends, lines = [read_edge(edge) for edge in self.edges], []
        for one, other in ends:
            side = f' [label="{other.side}"]' if other.side else ""
            lines.append(f'"{one.node(self.grouped)}" -> "{other.node(self.grouped)}"{side};')
        for into, out in ways(ends, self.grouped):
            names = into.node(self.grouped), out.node(self.grouped)
            lines.append('"{}" -> "{}" [style=dashed];'.format(*names))
        return "\n".join(["digraph circuit {", "  rankdir=BT;", *(f"  {x}" for x in lines), "}"])

    def __or__(self, other: "Circuit") -> "Circuit":
        return self._beside(other, lambda mine, its: mine | its)

    def __and__(self, other: "Circuit") -> "Circuit":
        return self._beside(other, lambda mine, its: mine & its)

    def __sub__(self, other: "Circuit") -> "Circuit":
        return self._beside(other, lambda mine, its: mine - its)

    def __len__(self) -> int:
        return len(self.edges)

    def __contains__(self, edge: object) -> bool:
        return edge in self.edges

    def __repr__(self) -> str:
        at = f" at {', '.join(self.places)}" if self.places else ""
        return f"Circuit({len(self)} edges{at})"

    def _with(self, edges: Iterable[tuple[str, str]]) -> "Circuit":
        return Circuit(tuple(edges), self.places, self.grouped)

    def _beside(self, other: "Circuit", how: Callable[[set, set], set]) -> "Circuit":
        if not isinstance(other, Circuit):
            return NotImplemented
        if (self.places, self.grouped) != (other.places, other.grouped):
            raise InputError(
                f"{self!r} and {other!r} are circuits of different graphs: their places, or how "
                "many heads share keys, differ"
            )
        return self._with(how(set(self.edges), set(other.edges)))


def as_circuit(given: Any, what: str = "circuit") -> Circuit:
    """A circuit.

    Raises:
        InputError: anything else.
    """
    if isinstance(given, Circuit):
        return given
    raise InputError(f"{what}={shown(given)}: a circuit is wanted, such as Circuit.top(edges, 50)")


def as_circuits(given: Any) -> dict[Any, Circuit]:
    """Circuits by name, or by number.

    Raises:
        InputError: anything else, or none.
    """
    if isinstance(given, Circuit):
        return {0: given}
    if not isinstance(given, Mapping):
        given = dict(enumerate(given)) if isinstance(given, Sequence) else {}
    if not given:
        raise InputError("circuits: one is wanted, or a list of them, or several by name")
    return {name: as_circuit(one, f"circuits[{name!r}]") for name, one in given.items()}
