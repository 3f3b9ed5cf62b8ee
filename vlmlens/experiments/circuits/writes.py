"""What nodes write into the residual stream, in one run and in another."""

from collections.abc import Sequence

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vlmlens.cache import ActivationCache
from vlmlens.experiments.circuits.nodes import Node
from vlmlens.model import HookedVLM


def points_of(nodes: Sequence[Node]) -> list[str]:
    """What has to be saved of two runs to know what these nodes write in both."""
    wanted: list[str] = []
    for node in nodes:
        block = f"blocks.{node.layer}."
        if node.kind in ("embed", "image", "text"):
            wanted.append("hook_embed")
        elif node.kind == "deepstack":
            wanted += [f"blocks.{node.layer - 1}.hook_resid_post", f"{block}hook_resid_pre"]
        elif node.kind == "mlp":
            wanted.append(f"{block}hook_mlp_out")
        elif node.kind == "attention":
            wanted.append(f"{block}hook_attn_out")
        else:
            wanted.append(f"{block}attn.hook_z")
    return list(dict.fromkeys(wanted))


def change(
    model: HookedVLM,
    nodes: Sequence[Node],
    source: ActivationCache,
    base: ActivationCache,
    where: Bool[Tensor, "batch pos"],
) -> Float[Tensor, "batch pos d_model"]:
    """How the stream changes directly when these nodes write what they wrote in another run.

    Heads of one block whose sum is normed before it is added (Gemma 2 and 3, GLM-4.1V) go
    through that norm together, beside the block's other heads.

    Args:
        model: the open model.
        nodes: what writes.
        source: what the run to take from saved: ``points_of(nodes)``.
        base: the same of the run to patch.
        where: the positions at which they write what they wrote there.
    """
    total: Tensor = torch.zeros(())
    for layer in dict.fromkeys(node.layer for node in nodes if node.kind == "head"):
        heads = [node.head for node in nodes if node.kind == "head" and node.layer == layer]
        total = total + _of_heads(model, layer, heads, source, base, where)
    for node in nodes:
        if node.kind != "head":
            written, before = (_whole(node, run) for run in (source, base))
            moved = written - before
            total = total + moved * where[..., None].to(moved.device)
    return total


def is_normed(model: HookedVLM, layer: int) -> bool:
    """Whether the sum of a block's heads is normed before it is added to the stream."""
    return _after_heads(model, layer) is not model.hook_dict[f"blocks.{layer}.attn.hook_z"].module


def _after_heads(model: HookedVLM, layer: int) -> nn.Module:
    return model.hook_dict[f"blocks.{layer}.hook_attn_out"].module


def _whole(node: Node, run: ActivationCache) -> Float[Tensor, "batch pos d_model"]:
    """What a node that is no head writes in a run; zeros where it has no positions."""
    points = points_of([node])
    if node.kind == "deepstack":
        return run[points[1]] - run[points[0]]
    written = run[points[0]]
    if node.kind not in ("image", "text"):
        return written
    seen = torch.from_numpy(np.stack([layout.mask("vision") for layout in run.layouts]))
    mine = seen if node.kind == "image" else ~seen
    return written * mine[..., None].to(written.device)


def _of_heads(
    model: HookedVLM,
    layer: int,
    heads: Sequence[int],
    source: ActivationCache,
    base: ActivationCache,
    where: Bool[Tensor, "batch pos"],
) -> Float[Tensor, "batch pos d_model"]:
    point = f"blocks.{layer}.attn.hook_z"
    before = base[point]
    taken = torch.zeros(before.shape[2], dtype=torch.bool, device=before.device)
    taken[list(heads)] = True
    mask = where.to(before.device)[..., None, None] & taken[:, None]
    after = torch.where(mask, source[point].to(before), before)
    project = model.hook_dict[point].module
    norm = _after_heads(model, layer)
    with torch.no_grad():
        written = [project.forward(rearrange(z, "b p h d -> b p (h d)")) for z in (after, before)]
        if norm is not project:
            written = [norm.forward(each) for each in written]
    return written[0] - written[1]
