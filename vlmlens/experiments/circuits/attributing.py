"""The edges of some pairs, from the gradients of passes that they share."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Float
from torch import Tensor

from vlmlens.experiments.circuits.along import Slopes, by_inputs, by_reader, moving
from vlmlens.experiments.circuits.graph import Graph
from vlmlens.experiments.circuits.together import TwinWork
from vlmlens.experiments.circuits.twins import EMBED, Twins
from vlmlens.experiments.circuits.writes import change, points_of
from vlmlens.experiments.pairs.pieces import Both, Piece
from vlmlens.experiments.readings import AnyScore
from vlmlens.model import HookedVLM


@dataclass(frozen=True, eq=False)
class Asked:
    """What is asked of edges; see ``edges``."""

    graph: Graph
    places: Mapping[str, Any]
    score: AnyScore
    steps: int
    along: str
    system: str | None
    normalized: bool


class Attributing(TwinWork):
    """Pairs, and the edges of each.

    Args:
        model: an open model.
        asked: what is asked.
        batch: pairs that are run together.
    """

    name = "edges"

    def __init__(self, model: HookedVLM, asked: Asked, batch: int):
        super().__init__(model, batch)
        self._asked = asked

    @property
    def how(self) -> tuple[Any, ...]:
        """Everything that decides over an edge."""
        a = self._asked
        ends, places = (a.graph.writers, a.graph.readers), tuple(a.places.items())
        return "edges", ends, places, a.score, a.steps, a.along, a.system

    def restores(self, both: Both) -> bool:
        """Whether effects are shares of what the corruption does."""
        return self._asked.normalized

    def tables(self, piece: Piece) -> Sequence[xr.Dataset]:
        """Every edge of every pair at every place, in units of the score."""
        a, readers = self._asked, self._asked.graph.readers
        points = points_of([*a.graph.writers, *moving(self.model)])
        points += [node.stream for node in readers] if a.along == "reader" else []
        ways = by_reader if a.along == "reader" else by_inputs
        found, ends = 0.0, 0.0
        for twins in Twins.several(self.model, self.twins(piece), a.score, a.system, points):
            ends = ends + twins.weight * twins.ends()
            own = _values(twins, a.graph, a.places, ways(twins, readers, a.steps))
            found = found + twins.weight * own
        return self.parted(
            "edge", ("place", "writer", "reader"), np.asarray(found), np.asarray(ends)
        )


def _values(
    twins: Twins, graph: Graph, places: Mapping[str, Any], slopes: Iterator[Slopes]
) -> Float[np.ndarray, "sample place writer reader"]:
    """Every edge of every pair at every place, in units of the score; NaN where there is none."""
    model, base = twins.model, twins.base
    layouts = base.inputs.layouts
    masks, read = twins.masks(places), twins.read
    there = graph.there(masks, layouts, read)
    everywhere = torch.ones(masks.shape[1:], dtype=torch.bool)
    device = base.saved[EMBED].device  # blocks may lie on several
    written = torch.stack(
        [
            change(model, [node], twins.source.saved, base.saved, everywhere).to(device)
            for node in graph.writers
        ]
    )
    found = np.zeros(there.shape)
    for nodes, grads, weight in slopes:
        columns = [graph.readers.index(node) for node in nodes]
        rows = int(graph.feeds[:, columns[0]].sum())  # those that write before come first
        own = there[..., columns[0]].any(-1)
        at = masks & read if nodes[0].kind == "logits" else masks
        for sample, place in np.argwhere(own):
            here = torch.from_numpy(at[place, sample]).to(grads.device)
            told = _flat(written[:rows, sample].to(grads.device), here)
            heard = _flat(grads[:, sample], here)
            sums = (told @ heard.T).double().cpu().numpy()
            found[sample, place][np.ix_(range(rows), columns)] += weight * sums
    twins.refuse_broken(found)
    found[~there] = np.nan
    return found


def _flat(
    x: Float[Tensor, "node pos d_model"], here: Bool[Tensor, " pos"]
) -> Float[Tensor, "node term"]:
    """What counts of several nodes, in single precision at least."""
    kept = x[:, here].flatten(1)
    return kept.float() if kept.element_size() < 4 else kept
