"""A run in which some edges carry the clean sample and all others the corrupted one."""

from collections.abc import Sequence
from functools import partial
from typing import Any, TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vlmlens.cache import ActivationCache
from vlmlens.experiments.circuits.graph import Graph
from vlmlens.experiments.circuits.nodes import Node, norm_of
from vlmlens.experiments.circuits.twins import Twins
from vlmlens.experiments.circuits.writes import change, is_normed, points_of

#: For every place: whose words each reader hears from the clean sample.
Keep: TypeAlias = Bool[Tensor, "place writer reader"]
#: What is known before the language model runs.
OUTSIDE = ("image", "text", "deepstack")


class Kept:
    """A clean run in which every reader's stream is put together anew, edge by edge.

    With w what a writer writes in this very run, a reader at position p reads

        x = x_corrupted + sum over its kept edges of (w - w_corrupted)

    so that a writer that reads nothing clean writes what it wrote in the corrupted run. Heads of
    one block whose sum is normed before it is added go through that norm together.

    Args:
        graph: the whole graph of the model.
        twins: pairs whose runs saved what writers write, and the corrupted one what readers read.
        masks: the positions of every place.
    """

    def __init__(self, graph: Graph, twins: Twins, masks: Bool[Tensor, "place batch pos"]):
        self.graph, self.twins, self.masks = graph, twins, masks
        self._everywhere = torch.ones(masks.shape[1:], dtype=torch.bool)
        like = twins.base.saved["hook_embed"]
        #: What each writer writes here less what it wrote in the corrupted run.
        self._told = like.new_zeros(len(graph.writers), *like.shape)
        self._z: dict[int, Tensor] = {}
        self._together: dict[tuple[Node, ...], Tensor] = {}
        for row, node in enumerate(graph.writers):
            if node.kind in OUTSIDE:
                self._told[row] = self._change([node], twins.source.saved)

    def logits(self, keep: Keep) -> Float[Tensor, "batch row vocab"]:
        """The logits that are read, with some edges kept."""
        model, hooks = self.twins.model, []
        self._together.clear()
        inner = [node for node in self.graph.writers if node.kind not in OUTSIDE]
        for point in points_of(inner):
            hooks.append((point, self._write))
        for point in dict.fromkeys(node.point for node in self.graph.readers):
            hooks.append((point, partial(self._read, keep=keep)))
        with torch.no_grad(), model.hooks(hooks):
            return model.run(self.twins.source.inputs, logits=self.twins.wanted).logits

    def _write(self, x: Float[Tensor, "..."], hook: Any) -> None:
        """Note what was written."""
        now = self._cache(hook.name, x)
        for row, node in enumerate(self.graph.writers):
            if node.kind in OUTSIDE or points_of([node]) != [hook.name]:
                continue
            if node.kind == "head" and is_normed(self.twins.model, node.layer):
                self._z[node.layer] = x
            else:
                self._told[row] = self._change([node], now)

    def _read(self, x: Float[Tensor, "..."], hook: Any, keep: Keep) -> Float[Tensor, "..."]:
        """What is read in place of the stream."""
        columns = [n for n, node in enumerate(self.graph.readers) if node.point == hook.name]
        first = self.graph.readers[columns[0]]
        rows = int(self.graph.feeds[:, columns[0]].sum())  # those that write before come first
        streams = self.twins.base.saved[first.stream].repeat(len(columns), 1, 1, 1)
        told = self._told[:rows]
        for mask, kept in zip(self.masks, keep[:, :rows, columns], strict=True):
            sums = torch.einsum("nr,nbpd->rbpd", kept.to(told), told)
            sums += self._normed(kept, rows)
            streams += (sums * mask[..., None].to(sums)).to(streams)
        if first.kind == "head":
            return torch.stack(list(streams), dim=2).to(x)
        if first.parallel:
            return norm_of(self.twins.model, first).forward(streams[0]).to(x)
        return streams[0].to(x)

    def _normed(
        self, kept: Bool[Tensor, "writer reader"], rows: int
    ) -> Float[Tensor, "reader batch pos d_model"] | float:
        """What heads add whose sum is normed."""
        layers = list(self._z)
        if not layers:
            return 0.0
        sums = self._told.new_zeros(kept.shape[1], *self._told.shape[1:])
        for column, own in enumerate(kept.T):
            for layer in layers:
                heads = tuple(
                    node
                    for node, is_kept in zip(self.graph.writers[:rows], own.tolist(), strict=True)
                    if is_kept and node.kind == "head" and node.layer == layer
                )
                if heads and heads not in self._together:
                    now = self._cache(points_of(heads)[0], self._z[layer])
                    self._together[heads] = self._change(heads, now)
                if heads:
                    sums[column] += self._together[heads]
        return sums

    def _cache(self, point: str, x: Float[Tensor, "..."]) -> ActivationCache:
        saved = self.twins.base.saved
        return ActivationCache({point: x}, {point: saved.axes[point]}, saved.layouts, saved.model)

    def _change(
        self, nodes: Sequence[Node], now: ActivationCache
    ) -> Float[Tensor, "batch pos d_model"]:
        base = self.twins.base.saved
        return change(self.twins.model, nodes, now, base, self._everywhere).to(self._told)
