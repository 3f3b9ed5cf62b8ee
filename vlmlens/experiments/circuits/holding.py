"""What some pairs score when a circuit alone carries the clean sample, or all but it does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float

from vlmlens.experiments.circuits.graph import Graph
from vlmlens.experiments.circuits.kept import Keep, Kept
from vlmlens.experiments.circuits.means import Means
from vlmlens.experiments.circuits.together import TwinWork
from vlmlens.experiments.circuits.twins import Twins
from vlmlens.experiments.circuits.writes import points_of
from vlmlens.experiments.pairs.pieces import Piece
from vlmlens.experiments.readings import AnyScore
from vlmlens.model import HookedVLM, Run
from vlmlens.sample import Sample


@dataclass(frozen=True, eq=False)
class Asked:
    """What is asked of circuits.

    Attributes:
        graph: the whole graph of the model.
        places: that its nodes are split by.
        keeps: every circuit's edges.
        score: a number of logits, or its name.
        system: a system prompt.
        means_of: the samples over whose mean all other edges are; None for the corrupted run.
    """

    graph: Graph
    places: Mapping[str, Any]
    keeps: tuple[Keep, ...]
    score: AnyScore
    system: str | None
    means_of: tuple[Sample, ...] | None = None


class Holding(TwinWork):
    """Pairs, and what they score in every circuit.

    Args:
        model: an open model.
        asked: what is asked.
        batch: pairs that are run together.
    """

    name = "faithfulness"

    def __init__(self, model: HookedVLM, asked: Asked, batch: int):
        super().__init__(model, batch)
        self._asked = asked
        self._means: Means | None = None

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_means": None}

    @property
    def how(self) -> tuple[Any, ...]:
        """Everything that decides over a score."""
        a = self._asked
        own = "faithfulness", a.graph, tuple(a.places.items()), a.keeps, a.score, a.system
        return own if a.means_of is None else (*own, "mean", a.means_of)

    def tables(self, piece: Piece) -> Sequence[xr.Dataset]:
        """What every pair scores in every circuit alone, and in all but it."""
        a, pairs = self._asked, self.twins(piece)
        read = [node.stream for node in a.graph.readers]
        points = points_of(a.graph.writers)
        found, ends, nothing = 0.0, 0.0, 0.0
        for twins in Twins.several(self.model, pairs, a.score, a.system, points, read):
            ends = ends + twins.weight * twins.ends()
            own = self._scores(twins)
            twins.refuse_broken(own)
            found, nothing = found + twins.weight * own[:, 1:], nothing + twins.weight * own[:, 0]
        values = np.asarray(found).reshape(len(pairs), -1, 2)
        tables = self.parted("score", ("circuit", "kept"), values, np.asarray(ends))
        if a.means_of is None:
            return tables
        none = np.asarray(nothing).tolist()
        return [table.assign(none=score) for table, score in zip(tables, none, strict=True)]

    def _scores(self, twins: Twins) -> Float[np.ndarray, "sample run"]:
        """What one reading makes of no edge, and of each circuit and all but it."""
        a, masks = self._asked, torch.from_numpy(twins.masks(self._asked.places))
        if a.means_of is not None:
            twins = replace(twins, base=self._averaged(twins))
        kept = Kept(a.graph, twins, masks)
        keeps = [keep for own in a.keeps for keep in (own, ~own)]
        nothing = torch.zeros_like(keeps[0])
        none = twins.base.logits if a.means_of is None else kept.logits(nothing)
        with torch.no_grad():
            runs = [twins.scored(none), *(twins.scored(kept.logits(keep)) for keep in keeps)]
        return torch.stack(runs, -1).double().cpu().numpy()

    def _averaged(self, twins: Twins) -> Run:
        """A run in whose place every node writes its mean."""
        a = self._asked
        assert a.means_of is not None
        self._means = self._means or Means(self.model, a.graph, a.means_of, a.system)
        answers = [reading.answer for reading in twins.readings]
        return replace(twins.base, saved=self._means.over(twins.base.saved, answers))
