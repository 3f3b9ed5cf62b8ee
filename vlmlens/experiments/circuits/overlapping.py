"""Whether circuits are the same: shared edges, against what circuits of their kind share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement
from typing import Any, Literal

import numpy as np
import xarray as xr
from jaxtyping import Bool, Int
from scipy import stats

from vlmlens.annotations import checked
from vlmlens.checks import one_of, whole
from vlmlens.ends import End, read_end
from vlmlens.errors import InputError
from vlmlens.experiments.circuits.circuit import Circuit, as_circuits
from vlmlens.experiments.circuits.tables import graph_of, mean_of

NULLS = ("heads", "edges")


@checked
def overlap(
    circuits: Sequence[Circuit] | Mapping[str, Circuit],
    among: xr.DataArray,
    *,
    null: Literal["heads", "edges"] = "heads",
    draws: int = 999,
    seed: int = 0,
) -> xr.Dataset:
    """How many edges circuits share: of categories, of models of one shape, of seeds.

        jaccard = shared / (edges of one + edges of other - shared)

    Most circuits share what any circuit of a model has, edges from the image into early blocks and
    from late ones into the logits. The null ``"heads"`` keeps that: the heads of every block of one
    circuit change names by chance, queries with their keys, so that it has as many edges
    from block to block, at the same places, and what more is shared is shared heads. The null
    ``"edges"`` draws as many edges from all there are (the hypergeometric distribution).

    Args:
        circuits: at least two, or several by name.
        among: a table of all edges that they were chosen from, as ``edges`` returns it.
        null: what is compared with.
        draws: how often heads change names.
        seed: of these draws.

    Returns:
        Over (circuit, other): ``shared`` and ``jaccard``; ``expected``, ``low`` and ``high``, the
        mean and the middle 95 % of ``shared`` under the null; ``p``, one-sided, that the null
        shares as many.

    Raises:
        InputError: fewer than two circuits, or edges that are not in the table.

    Source:
        Hanna et al. 2024, arXiv:2403.17806, for overlap; Conmy et al. 2023, arXiv:2304.14997.

    Examples:
        >>> pairs = vl.datasets.counterfactual_pairs(4, kind="swap")
        >>> found = vl.experiments.edges(model, pairs, progress=False)
        >>> halves = [found[:2], found[2:]]
        >>> circuits = [vl.experiments.Circuit.top(half, 50) for half in halves]
        >>> same = vl.experiments.overlap(circuits, found, draws=99)
        >>> bool(same.shared[0, 1] > same.expected[0, 1])
        True
    """
    own = as_circuits(circuits)
    one_of(null, "null", NULLS)
    if len(own) < 2:
        raise InputError("one circuit overlaps with nothing: at least two are wanted")
    table = _Table.of(among)
    sets = {name: table.of_edges(circuit, name) for name, circuit in own.items()}
    count = whole(draws, "draws", least=1)
    names = ("shared", "jaccard", "expected", "low", "high", "p")
    values = np.empty((len(names), len(sets), len(sets)))
    for (row, one), (column, other) in combinations_with_replacement(enumerate(sets.values()), 2):
        cell = _compared(table, one, other, null, count, seed)
        values[:, row, column] = values[:, column, row] = cell
    coords = {"circuit": list(own), "other": list(own)}
    made = {
        name: (("circuit", "other"), values[at], {"units": "1"}) for at, name in enumerate(names)
    }
    attrs = {"null": null, "draws": count if null == "heads" else "exact", "seed": seed}
    return xr.Dataset(made, coords, attrs | {"edges": int(table.there.sum())})


@dataclass(frozen=True, eq=False)
class _Table:
    """Every edge there is, and which heads could stand for which.

    Attributes:
        there: which writer and reader are an edge.
        writers: the place of each writer's name.
        readers: the same.
        grouped: how many query heads share a key-value head.
    """

    there: Bool[np.ndarray, "writer reader"]
    writers: dict[str, int]
    readers: dict[str, int]
    grouped: int

    @classmethod
    def of(cls, among: xr.DataArray) -> "_Table":
        mean = mean_of(among)
        writers, readers = (
            {str(name): at for at, name in enumerate(mean[dim].values)}
            for dim in ("writer", "reader")
        )
        return cls(np.isfinite(mean.values), writers, readers, graph_of(among)[1])

    def of_edges(self, circuit: Circuit, name: Any) -> Int[np.ndarray, "edge 2"]:
        """Where a circuit's edges are in the table."""
        found = [(self.writers.get(a, -1), self.readers.get(b, -1)) for a, b in circuit.edges]
        for edge, at in zip(circuit.edges, found, strict=True):
            if min(at) < 0 or not self.there[at]:
                raise InputError(
                    f"circuits[{name!r}] has the edge {' -> '.join(edge)}, and the table has not: "
                    "circuits of one graph, and a table of all its edges, are wanted"
                )
        return np.array(found, dtype=int).reshape(-1, 2)

    def renamed(self, rng: np.random.Generator) -> tuple[list[int], list[int]]:
        """Where every writer and reader is after the heads of each block changed names."""
        heads: dict[tuple[int, str], list[int]] = {}
        for layer, many in self.keys.items():
            keys = rng.permutation(many)
            inner = [rng.permutation(self.grouped) for _ in range(many)]
            heads[layer, "kv"] = keys.tolist()
            heads[layer, "q"] = [
                int(keys[key] * self.grouped + inner[key][at])
                for key in range(many)
                for at in range(self.grouped)
            ]
        return self._moved(self.writers, heads), self._moved(self.readers, heads)

    @cached_property
    def ends(self) -> dict[str, End]:
        """Every writer and reader, by name."""
        return {label: read_end(label) for label in (*self.writers, *self.readers)}

    @cached_property
    def keys(self) -> dict[int, int]:
        """How many key-value heads each block has."""
        heads = [end for end in self.ends.values() if end.kind == "head"]
        found: dict[int, int] = {}
        for end in sorted(heads, key=lambda end: end.layer):
            key = end.head if end.side in ("k", "v") else end.head // self.grouped
            found[end.layer] = max(found.get(end.layer, 0), key + 1)
        return found

    def _moved(
        self, names: Mapping[str, int], heads: Mapping[tuple[int, str], list[int]]
    ) -> list[int]:
        found = []
        for name, at in names.items():
            end = self.ends[name]
            if end.kind == "head":
                new = heads[end.layer, "kv" if end.side in ("k", "v") else "q"][end.head]
                at = names[name.replace(f"H{end.head}", f"H{new}", 1)]
            found.append(at)
        return found


def _compared(
    table: _Table,
    one: Int[np.ndarray, "edge 2"],
    other: Int[np.ndarray, "edge 2"],
    null: str,
    draws: int,
    seed: int,
) -> tuple[float, ...]:
    """Shared edges, their share of all, and what the null shares."""
    its = np.zeros_like(table.there)
    its[tuple(other.T)] = True
    shared = float(its[tuple(one.T)].sum())
    either = len(one) + len(other) - shared
    jaccard = shared / either if either else float("nan")
    if null == "edges":
        chance = stats.hypergeom(int(table.there.sum()), len(one), len(other))
        low, high = chance.ppf([0.025, 0.975])
        return shared, jaccard, chance.mean(), low, high, chance.sf(shared - 1)
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(draws):
        rows, columns = (np.array(each) for each in table.renamed(rng))
        drawn.append(its[rows[one[:, 0]], columns[one[:, 1]]].sum())
    low, high = np.quantile(drawn, [0.025, 0.975])
    p = (1 + np.sum(np.array(drawn) >= shared)) / (draws + 1)
    return shared, jaccard, float(np.mean(drawn)), low, high, p
