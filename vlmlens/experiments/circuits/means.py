"""What nodes write on average, over samples: for each position, or each stretch of the prompt."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TypeAlias

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from vlmlens.cache import ActivationCache
from vlmlens.errors import InputError
from vlmlens.experiments.circuits.graph import Graph
from vlmlens.experiments.circuits.writes import is_normed, points_of
from vlmlens.layout import TokenLayout
from vlmlens.model import HookedVLM
from vlmlens.sample import Sample

#: What is known of some positions, by point.
Known: TypeAlias = dict[str, Float[Tensor, "pos ..."]]


@dataclass(frozen=True)
class Stretch:
    """Neighbouring positions of one role.

    Attributes:
        role: of all of them.
        at: where they are, padding counted.
        looks: which cell of which image each looks at.
    """

    role: str
    at: slice = field(compare=False)
    looks: tuple[tuple[int, ...], ...]


def stretches(layout: TokenLayout) -> list[Stretch]:
    """A prompt, cut where the role changes; without padding."""
    looks = np.stack([layout.image, layout.tile, layout.row, layout.column], -1)
    found = []
    for role, group in groupby(range(len(layout)), lambda at: layout.roles[at]):
        at = list(group)
        if role != "pad":
            span = slice(at[0], at[-1] + 1)
            found.append(Stretch(role, span, tuple(map(tuple, looks[at].tolist()))))
    return found


@dataclass(eq=False)
class Summed:
    """One stretch, over samples: position by position as long as all are alike, and as a whole.

    Attributes:
        like: the first sample's.
        placed: sums by position; None where samples differ.
        pooled: sums of each sample's mean over positions.
    """

    like: Stretch
    placed: Known | None = field(default_factory=dict)
    pooled: Known = field(default_factory=dict)

    def add(self, stretch: Stretch, rows: Known) -> None:
        """Count a sample's."""
        if stretch != self.like:
            self.placed = None
        for name, x in rows.items():
            self.pooled[name] = self.pooled.get(name, 0.0) + x.mean(0, keepdim=True)
            if self.placed is not None:
                self.placed[name] = self.placed.get(name, 0.0) + x

    def of(self, stretch: Stretch) -> Known:
        """The sums for a stretch: by position where that one is alike as well."""
        return self.pooled if self.placed is None or stretch != self.like else self.placed


class Means:
    """What every node of a graph writes, and every reader reads then, on average.

    Positions have a counterpart in every sample where a stretch of one role is as long everywhere,
    and looks at the same cells of the same image; the mean is then position by position. Where
    stretches differ (questions, pictures of other sizes), nothing says which position answers to
    which, so that all positions of the stretch share one mean, in which samples count alike.

    Args:
        model: an open model.
        graph: the whole graph of the model.
        samples: the mean is over these.
        system: a system prompt.
    """

    def __init__(
        self, model: HookedVLM, graph: Graph, samples: Sequence[Sample], system: str | None
    ):
        self._model, self._graph, self._samples, self._system = model, graph, samples, system
        self._normed = [
            layer
            for layer in dict.fromkeys(n.layer for n in graph.writers if n.kind == "head")
            if is_normed(model, layer)
        ]
        self._known: dict[str | None, list[Summed]] = {}
        self._axes: dict[str, tuple[str, ...]] = {}

    def over(self, like: ActivationCache, answers: Sequence[str | None]) -> ActivationCache:
        """The means in place of what a run saved.

        Args:
            like: what the run saved of its embeddings.
            answers: what is said after each of its prompts, and after every sample's.

        Raises:
            InputError: samples whose prompts are built otherwise than the run's.
        """
        made: dict[str, Tensor] = {}
        whole = like["hook_embed"]
        for row, (layout, answer) in enumerate(zip(like.layouts, answers, strict=True)):
            sums, own = self._sums(answer), stretches(layout)
            _refuse_other([one.like for one in sums], own)
            for stretch, one in zip(own, sums, strict=True):
                for name, x in one.of(stretch).items():
                    if name not in made:
                        made[name] = x.new_zeros(*whole.shape[:2], *x.shape[1:])
                    made[name][row, stretch.at] = x / len(self._samples)
        kept = {name: x.to(whole.dtype) for name, x in made.items()}
        self._settle(kept)
        return ActivationCache(kept, self._axes, like.layouts, like.model)

    def _sums(self, answer: str | None) -> list[Summed]:
        """Over all samples, with this said after each."""
        if answer not in self._known:
            self._known[answer] = self._summed(answer)
        return self._known[answer]

    def _summed(self, answer: str | None) -> list[Summed]:
        model, found = self._model, []
        points = [*points_of(self._graph.writers), *(n.stream for n in self._graph.readers)]
        points += [f"blocks.{layer}.hook_attn_out" for layer in self._normed]
        answers = None if answer is None else [answer]
        for sample in self._samples:
            inputs = model.inputs([sample], system=self._system, answers=answers)
            with torch.no_grad():
                saved = model.run(inputs, save=list(dict.fromkeys(points)), logits=False).saved
            own = stretches(inputs.layouts[0])
            found = found or [Summed(stretch) for stretch in own]
            _refuse_other([one.like for one in found], own)
            self._axes = dict(saved.axes)
            for one, stretch in zip(found, own, strict=True):
                rows = {name: _wide(saved[name][0, stretch.at]) for name in saved}
                one.add(stretch, rows)
        return found

    def _settle(self, made: dict[str, Float[Tensor, "batch pos ..."]]) -> None:
        """Where heads' sum is normed, streams hold what the norm makes of the mean heads."""
        for layer in self._normed:
            heads, out = (f"blocks.{layer}.{each}" for each in ("attn.hook_z", "hook_attn_out"))
            project, norm = (self._model.hook_dict[name].module for name in (heads, out))
            with torch.no_grad():
                flat = rearrange(made[heads], "b p h d -> b p (h d)")
                moved = norm.forward(project.forward(flat)) - made[out]
            first = next(n for n in self._graph.writers if n.kind == "head" and n.layer == layer)
            streams = {node.stream for node in self._graph.readers if first.feeds(node)}
            for stream in streams:
                made[stream] = made[stream] + moved.to(made[stream])


def _wide(x: Float[Tensor, "pos ..."]) -> Float[Tensor, "pos ..."]:
    """In single precision at least: many samples are summed."""
    return x.float() if x.element_size() < 4 else x


def _refuse_other(known: Sequence[Stretch], own: Sequence[Stretch]) -> None:
    """Refuse prompts that are built in another way.

    Raises:
        InputError: says how both are.
    """
    roles = [" ".join(stretch.role for stretch in each) for each in (known, own)]
    if roles[0] != roles[1]:
        raise InputError(
            f"a mean is over prompts that are built alike, and one is {roles[0]}, another "
            f"{roles[1]}: pass means_of= samples with as many images, and text at the same places"
        )
