"""Gradients along a way from the corrupted to the clean run: all inputs move, or one reader's."""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from vlmlens.experiments.circuits import nodes
from vlmlens.experiments.circuits.gradients import Shift, gradients
from vlmlens.experiments.circuits.nodes import Node, norm_of
from vlmlens.experiments.circuits.twins import EMBED, Twins
from vlmlens.experiments.circuits.writes import change
from vlmlens.interventions import Intervention
from vlmlens.model import HookedVLM
from vlmlens.select import Where

ALONG = ("inputs", "reader")
#: Nodes that read together, gradients in what they read, and the weight of these in the mean.
Slopes: TypeAlias = tuple[list[Node], Float[Tensor, "node batch pos d_model"], float]


def by_inputs(twins: Twins, readers: Sequence[Node], steps: int) -> Iterator[Slopes]:
    """Everything that comes in moves; no step: it stays where it is in the corrupted run."""
    for share in _shares(steps) or [0.0]:
        edits = _along(twins, share)
        for read, grads in gradients(twins, edits, readers):
            yield read, grads, 1 / max(1, steps)


def by_reader(twins: Twins, readers: Sequence[Node], steps: int) -> Iterator[Slopes]:
    """One reader's stream moves, and everything else stays as in the corrupted run."""
    for node in readers:
        source, base = (run.saved[node.stream] for run in (twins.source, twins.base))
        for share in _shares(steps):
            moved = share * (source - base)
            by, where = moved, Where()
            if node.kind == "head":
                by, where = moved[:, :, None], Where(heads=node.head)
            elif node.parallel:
                norm = norm_of(twins.model, node)
                with torch.no_grad():
                    by = norm.forward(base + moved) - norm.forward(base)
            edits = [Shift(node.point, where, by=by)]
            for read, grads in gradients(twins, edits, [node], moved):
                yield read, grads, 1 / steps


def _shares(steps: int) -> list[float]:
    return [(k + 0.5) / steps for k in range(steps)]


def moving(model: HookedVLM) -> list[Node]:
    """What comes into the stream from outside the language model."""
    return [node for node in nodes.writers(model) if node.kind in ("embed", "deepstack")]


def _along(twins: Twins, share: float) -> list[Intervention]:
    """Moves what comes in some of the way from the corrupted to the clean run."""
    whole = torch.ones(twins.base.saved[EMBED].shape[:2], dtype=torch.bool)
    moves = []
    for node in moving(twins.model):
        way = change(twins.model, [node], twins.source.saved, twins.base.saved, whole)
        point = EMBED if node.kind == "embed" else f"blocks.{node.layer}.hook_resid_pre"
        moves.append(Shift(point, by=share * way))
    return moves
