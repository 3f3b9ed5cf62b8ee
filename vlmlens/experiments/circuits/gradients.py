"""A score's gradient in what each node reads: one pass forward and one back for all of them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vlmlens.experiments.circuits.nodes import Node, norm_of
from vlmlens.experiments.circuits.twins import Twins
from vlmlens.interventions import Intervention, Site
from vlmlens.model import HookedVLM
from vlmlens.model.reuse.entering import before, made_by
from vlmlens.tensors import pieces


@dataclass(frozen=True, eq=False)
class Shift(Intervention):
    """Adds a tensor to an activation, as a leaf of the graph."""

    by: Float[Tensor, "..."] | None = None

    def edit(self, x: Float[Tensor, "*axes"], site: Site) -> Float[Tensor, "*axes"]:
        assert self.by is not None
        return x + self.by.to(x).detach().requires_grad_()


def gradients(
    twins: Twins,
    edits: Sequence[Intervention],
    readers: Sequence[Node],
    moved: Float[Tensor, "batch pos d_model"] | None = None,
) -> Iterator[tuple[list[Node], Float[Tensor, "node batch pos d_model"]]]:
    """The score's derivative in the stream that each node reads, for nodes that read together.

    What a head's query reads is not the pass's own tensor, so its gradient is that of the
    projection's output, cut to the head, taken back through projection and norm. No more than one
    block's readers are held at once.

    Args:
        twins: pairs, whose corrupted run this is, and how they score.
        edits: what moves it along the way.
        readers: the nodes, in the order of a pass.
        moved: what the edits add to the stream that they read, and to nobody else's.

    Raises:
        InputError: a score without a gradient.
    """
    model = twins.model
    streams, grads = _pass(twins, edits, readers)
    if moved is not None:
        streams = {name: stream + moved.to(stream) for name, stream in streams.items()}
    for _, group in groupby(readers, lambda node: (node.step, node.kind, node.side)):
        nodes = list(group)
        first, grad = nodes[0], grads[nodes[0].point]
        if first.kind == "head":
            point = model.hook_dict[first.point]
            (count,) = point.sizes.values()
            pull = _Pull(point.module, norm_of(model, first), point.part or (0, (1,)), count)
            yield nodes, pull.heads(streams[first.stream], grad, [node.head for node in nodes])
        elif first.parallel:
            x, made = _again(norm_of(model, first), streams[first.stream])
            yield nodes, torch.autograd.grad(made, x, grad)[0][None]
        else:
            yield nodes, grad[None]


def _pass(
    twins: Twins, edits: Sequence[Intervention], readers: Sequence[Node]
) -> tuple[dict[str, Float[Tensor, "..."]], dict[str, Float[Tensor, "..."]]]:
    """The streams before norms, and the gradients at points: of a head's, at the projection."""
    model, seen = twins.model, dict[nn.Module, Tensor]()
    places = {node.point: _place(model, node) for node in readers}
    heads = {node.point for node in readers if node.kind == "head"}
    early = list(dict.fromkeys(n.stream for n in readers if n.kind == "head" or n.parallel))
    with ExitStack() as stack:
        for module in {places[point] for point in heads}:
            stack.enter_context(made_by(model, module, partial(seen.__setitem__, module)))
        for module in {place for point, place in places.items() if point not in heads}:
            stack.enter_context(before(model, module, partial(_enter, seen, module)))
        inputs = twins.base.inputs
        run = model.run(inputs, edits, early, logits=twins.wanted, grad=True)
    with torch.enable_grad():
        total = twins.slope(run.logits)
    modules = list(dict.fromkeys(places.values()))
    made = torch.autograd.grad(total, [seen[module] for module in modules])
    by_module = dict(zip(modules, made, strict=True))
    streams = {name: run.saved[name].detach() for name in early}
    return streams, {point: by_module[place] for point, place in places.items()}


def _place(model: HookedVLM, node: Node) -> nn.Module:
    """The module that a node reads through."""
    return norm_of(model, node) if node.kind == "logits" else model.hook_dict[node.point].module


def _enter(
    seen: dict[nn.Module, Float[Tensor, "..."]], module: nn.Module, x: Float[Tensor, "*axes"]
) -> Float[Tensor, "*axes"]:
    """The same numbers on a branch of their own: the stream goes on beside it."""
    seen[module] = torch.zeros_like(x, requires_grad=True)
    return x + seen[module]


@dataclass(frozen=True, eq=False)
class _Pull:
    """A projection and its norm, gone through backwards, a head at a time."""

    module: nn.Module
    norm: nn.Module
    part: tuple[int, tuple[int, ...]]
    count: int

    def heads(
        self,
        stream: Float[Tensor, "batch pos d_model"],
        grad: Float[Tensor, "batch pos width"],
        wanted: Sequence[int],
    ) -> Float[Tensor, "head batch pos d_model"]:
        x, made = _again(lambda x: self.module.forward(self.norm.forward(x)), stream)
        which, shares = self.part
        found = []
        for head in wanted:
            own = torch.zeros_like(grad)
            piece = pieces(own, shares)[which].chunk(self.count, -1)[head]
            piece.copy_(pieces(grad, shares)[which].chunk(self.count, -1)[head])
            found.append(torch.autograd.grad(made, x, own, retain_graph=True)[0])
        return torch.stack(found)


def _again(
    function: Callable[[Float[Tensor, "..."]], Float[Tensor, "..."]],
    stream: Float[Tensor, "batch pos d_model"],
) -> tuple[Float[Tensor, "batch pos d_model"], Float[Tensor, "..."]]:
    """A stream as a leaf, and what is made of it."""
    x = stream.detach().requires_grad_()
    with torch.enable_grad():
        return x, function(x)
