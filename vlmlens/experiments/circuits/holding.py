"""What some pairs score when a circuit alone carries the clean sample, or all but it does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import xarray as xr

from vlmlens.experiments.circuits.graph import Graph
from vlmlens.experiments.circuits.kept import Keep, Kept
from vlmlens.experiments.circuits.means import Means
from vlmlens.experiments.circuits.places import split
from vlmlens.experiments.circuits.together import TwinWork
from vlmlens.experiments.circuits.twins import Twins
from vlmlens.experiments.circuits.writes import points_of
from vlmlens.experiments.pairs.pieces import Piece
from vlmlens.experiments.scores import Score
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
    score: str | Score
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
        twins = Twins.run(self.model, pairs, a.score, a.system, points_of(a.graph.writers), read)
        ends, layouts = twins.ends(), twins.base.inputs.layouts
        masks = np.stack(list(split(a.places, [pair[1] for pair in pairs], layouts).values()))
        if a.means_of is not None:
            twins = replace(twins, base=self._averaged(twins.base))
        kept = Kept(a.graph, twins, torch.from_numpy(masks))
        keeps = [keep for own in a.keeps for keep in (own, ~own)]
        runs = [twins.scored(kept.logits(keep)) for keep in keeps]
        found = torch.stack(runs, -1).double().cpu().numpy()
        twins.refuse_broken(found)
        found = found.reshape(len(pairs), -1, 2)
        tables = self.parted("score", ("circuit", "kept"), found, ends)
        if a.means_of is not None:
            nothing = twins.scored(kept.logits(torch.zeros_like(keeps[0]))).double().cpu().numpy()
            twins.refuse_broken(nothing[:, None])
            tables = [t.assign(none=float(s)) for t, s in zip(tables, nothing, strict=True)]
        return tables

    def _averaged(self, base: Run) -> Run:
        """A run in whose place every node writes its mean."""
        a = self._asked
        assert a.means_of is not None
        self._means = self._means or Means(self.model, a.graph, a.means_of, a.system)
        return replace(base, saved=self._means.over(base.saved, [None] * len(base.inputs)))
