"""What some pairs score when a circuit alone carries the clean sample, or all but it does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr

from vlmlens.experiments.circuits.graph import Graph
from vlmlens.experiments.circuits.kept import Keep, Kept
from vlmlens.experiments.circuits.places import split
from vlmlens.experiments.circuits.together import TwinWork
from vlmlens.experiments.circuits.twins import Twins
from vlmlens.experiments.circuits.writes import points_of
from vlmlens.experiments.pairs.pieces import Piece
from vlmlens.experiments.scores import Score
from vlmlens.model import HookedVLM


@dataclass(frozen=True, eq=False)
class Asked:
    """What is asked of circuits.

    Attributes:
        graph: the whole graph of the model.
        places: that its nodes are split by.
        keeps: every circuit's edges.
        score: a number of logits, or its name.
        system: a system prompt.
    """

    graph: Graph
    places: Mapping[str, Any]
    keeps: tuple[Keep, ...]
    score: str | Score
    system: str | None


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

    @property
    def how(self) -> tuple[Any, ...]:
        """Everything that decides over a score."""
        a = self._asked
        return "faithfulness", a.graph, tuple(a.places.items()), a.keeps, a.score, a.system

    def tables(self, piece: Piece) -> Sequence[xr.Dataset]:
        """What every pair scores in every circuit alone, and in all but it."""
        a, pairs = self._asked, self.twins(piece)
        read = [node.stream for node in a.graph.readers]
        twins = Twins.run(self.model, pairs, a.score, a.system, points_of(a.graph.writers), read)
        ends, layouts = twins.ends(), twins.base.inputs.layouts
        masks = np.stack(list(split(a.places, [pair[1] for pair in pairs], layouts).values()))
        kept = Kept(a.graph, twins, torch.from_numpy(masks))
        runs = [twins.scored(kept.logits(keep)) for own in a.keeps for keep in (own, ~own)]
        found = torch.stack(runs, -1).double().cpu().numpy()
        twins.refuse_broken(found)
        return self.parted("score", ("circuit", "kept"), found.reshape(len(pairs), -1, 2), ends)
