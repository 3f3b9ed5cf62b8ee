"""Nodes of a language model's graph: what writes into the residual stream, and what reads it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, TypeAlias

from torch import nn

from vlmlens.checks import shown
from vlmlens.errors import InputError, UnsupportedModelError
from vlmlens.model import HookedVLM

Kind = Literal["embed", "image", "text", "deepstack", "attention", "head", "mlp", "logits"]
Side = Literal["q", "k", "v"]
#: Nodes as users name them: a name, a pattern, or several that act as one.
Names: TypeAlias = str | Sequence["str | tuple[str, ...]"]


@dataclass(frozen=True)
class Node:
    """One node, by its name.

    Attributes:
        name: ``"embed"`` (``"image"`` and ``"text"``, its two parts), ``"deepstack1"`` (what a deep
            tower adds before block 1), ``"L3H1"`` (a head), ``"A3"`` (a block's attention),
            ``"M3"`` (an MLP); as a reader ``"L3H1.q"`` (a head's query; ``.k`` and ``.v`` count
            key-value heads), ``"M3"``, ``"logits"``, and ``"A3"`` where attention has no heads.
        kind: what it is.
        layer: its block; -1 for the embeddings, the number of blocks for the logits.
        head: which head, where it is one.
        side: what of a head reads.
        parallel: whether an MLP reads, through one norm, what its block's attention reads.
    """

    name: str
    kind: Kind
    layer: int
    head: int = -1
    side: Side | None = None
    parallel: bool = False

    @property
    def step(self) -> int:
        """When in a pass it reads or writes: attention before the MLP, block by block."""
        late = self.kind == "mlp" and not self.parallel
        return 2 * self.layer + late - (self.kind == "deepstack")

    def feeds(self, reader: "Node") -> bool:
        """Whether what it writes is in the stream that the reader reads."""
        return self.step < reader.step

    @property
    def point(self) -> str:
        """Where what it reads can be edited."""
        block = f"blocks.{self.layer}."
        if self.kind == "head":
            return f"{block}hook_{self.side}_input"
        if self.kind == "mlp":
            return f"{block}mlp.hook_in" if self.parallel else f"{block}hook_mlp_in"
        if self.kind == "attention":
            return f"{block}hook_attn_in"
        return f"blocks.{self.layer - 1}.hook_resid_post"

    @property
    def stream(self) -> str:
        """Where the stream that it reads is found whole: at its point, but before a norm."""
        early = self.kind == "head" or self.parallel
        return f"blocks.{self.layer}.hook_resid_pre" if early else self.point


def writers(model: HookedVLM) -> list[Node]:
    """Everything that writes into the stream, in the order of a pass."""
    found = [Node("embed", "embed", -1), Node("image", "image", -1), Node("text", "text", -1)]
    deep = sum(name.startswith("projector.deepstack.") for name in model.hook_dict)
    for layer in range(model.layers):
        block = f"blocks.{layer}."
        if 0 < layer <= deep:
            found.append(Node(f"deepstack{layer}", "deepstack", layer))
        if f"{block}attn.hook_z" in model.hook_dict:
            count = model.hook_dict[f"{block}attn.hook_z"].size("head")
            found += [Node(f"L{layer}H{head}", "head", layer, head) for head in range(count)]
        if f"{block}hook_attn_out" in model.hook_dict:
            found.append(Node(f"A{layer}", "attention", layer))
        if f"{block}hook_mlp_out" in model.hook_dict:
            found.append(Node(f"M{layer}", "mlp", layer, parallel=_parallel(model, layer)))
    return found


def readers(model: HookedVLM) -> list[Node]:
    """Everything that reads the stream, in the order of a pass."""
    found: list[Node] = []
    sides: tuple[Side, ...] = ("q", "k", "v")
    for layer in range(model.layers):
        block = f"blocks.{layer}."
        own: list[Side] = [side for side in sides if f"{block}hook_{side}_input" in model.hook_dict]
        if not own and f"{block}hook_attn_in" in model.hook_dict:
            found.append(Node(f"A{layer}", "attention", layer))
        for side in own:
            (count,) = model.hook_dict[f"{block}hook_{side}_input"].sizes.values()
            names = [f"L{layer}H{head}.{side}" for head in range(count)]
            found += [Node(name, "head", layer, head, side) for head, name in enumerate(names)]
        mlp = Node(f"M{layer}", "mlp", layer, parallel=_parallel(model, layer))
        if mlp.point in model.hook_dict:
            found.append(mlp)
    return [*found, Node("logits", "logits", model.layers)]


def norm_of(model: HookedVLM, node: Node) -> nn.Module:
    """The norm between the stream that a reader reads and its point, or what stands after it."""
    if node.kind == "logits":
        return model.hf_model.get_submodule(model.family.final_norm)
    if node.kind == "head" or node.parallel:
        norms = model.hook_dict[f"blocks.{node.layer}.hook_q_input"].norms
        return next(iter(norms), nn.Identity())  # where blocks norm only what they write
    return model.hook_dict[node.point].module


def _parallel(model: HookedVLM, layer: int) -> bool:
    """Whether attention and MLP of a block read what one norm makes."""
    there = [f"blocks.{layer}.{name}" in model.hook_dict for name in ("hook_mlp_in", "mlp.hook_in")]
    return there == [False, True]


def meant(names: Names, there: Sequence[Node], what: str) -> dict[str, tuple[Node, ...]]:
    """The nodes that are meant, by the label of each: several in a tuple act as one.

    Raises:
        InputError: a name that means no node; says what there is.
        UnsupportedModelError: a model of which no block has such nodes.
    """
    if len(there) < 2:
        raise UnsupportedModelError(f"this model has no {what}: none of its blocks offers a point")
    found: dict[str, tuple[Node, ...]] = {}
    for given in (names,) if isinstance(names, str) else names:
        if isinstance(given, tuple):
            own = list(
                dict.fromkeys(node for name in given for node in _matching(name, there, what))
            )
            parts = [node.name for node in own if node.kind in ("image", "text")]
            if parts and any(node.kind == "embed" for node in own):
                raise InputError(
                    f"{what}={shown(given)}: {parts[0]} is part of embed, and would write twice"
                )
            whole = {node.layer for node in own if node.kind == "attention"}
            if twice := [n.name for n in own if n.kind == "head" and n.layer in whole]:
                raise InputError(
                    f"{what}={shown(given)}: {twice[0]} is part of its block's attention, A"
                    f"{twice[0][1:].partition('H')[0]}, and would write twice"
                )
            found["+".join(node.name for node in own)] = tuple(own)
        else:
            found |= {node.name: (node,) for node in _matching(given, there, what)}
    if not found:
        raise InputError(f"{what}={shown(names)} is empty: {_some(there)}")
    return found


def _matching(name: object, there: Sequence[Node], what: str) -> list[Node]:
    found = [node for node in there if isinstance(name, str) and fnmatchcase(node.name, name)]
    if not found:
        sides = isinstance(name, str) and re.fullmatch(r"L\d+H\d+(\.[qkv])?", name)
        hint = "; a reader is a head's .q, .k or .v, a writer the head" if sides else ""
        raise InputError(f"{what}={shown(name)} means no node of this model: {_some(there)}{hint}")
    return found


def _some(there: Sequence[Node]) -> str:
    names = [node.name for node in there]
    return f"there are {', '.join([*names[:4], '...', *names[-3:]])}; patterns such as 'L2H*' work"
