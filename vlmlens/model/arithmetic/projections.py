"""A projection taken apart by heads: what each head writes, and what each head reads.

The modules themselves are called, never their weights, which may be quantised or elsewhere.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from vlmlens.tensors import pieces


def by_head(
    module: nn.Module, z: Float[Tensor, "*lead heads_d_head"], heads: int
) -> tuple[Float[Tensor, "*lead head d_model"], Float[Tensor, "..."]]:
    """Each head's own write, and what is written whatever they say."""
    rest = module.forward(torch.zeros_like(z[:1]))[..., :1, :]
    split = rearrange(z, "... (h d) -> ... h d", h=heads)
    writes = []
    for head in range(heads):
        alone = torch.zeros_like(split)
        alone[..., head, :] = split[..., head, :]
        writes.append(module.forward(rearrange(alone, "... h d -> ... (h d)")) - rest)
    return torch.stack(writes, dim=-2), rest


def by_reader(
    norm: nn.Module,
    module: nn.Module,
    read: Float[Tensor, "*lead head d_model"],
    before: Float[Tensor, "*lead d_model"],
    normed: Float[Tensor, "*lead d_model"],
    made: Float[Tensor, "*lead width"],
    part: tuple[int, tuple[int, ...]],
) -> Float[Tensor, "*lead width"]:
    """What a projection makes of one stream for each head.

    Edits between the stream and the projection, of the norm's output or scale, act on every head:
    what they changed of the norm's output is added to what the norm makes of each head's stream.

    Args:
        norm: what norms a stream before it is projected.
        module: the projection, one of whose output's parts has ``head`` equal pieces.
        read: the stream that each head reads, before the norm.
        before: the stream that all of them read in the pass.
        normed: what the projection read in the pass.
        made: what the pass made of that.
        part: which part of the last axis, and the shares of all.
    """
    which, shares = part
    parts = pieces(made, shares)
    heads = read.shape[-2]
    moved = normed - norm.forward(before)
    own_pieces = list(parts[which].chunk(heads, dim=-1))
    for head in range(heads):
        own = read[..., head, :]
        # A head that reads what it read keeps its very bits; with a graph, gradients go through.
        if torch.is_grad_enabled() or not torch.equal(own, before):
            fresh = pieces(module.forward(norm.forward(own) + moved), shares)[which]
            own_pieces[head] = fresh.chunk(heads, dim=-1)[head]
    parts[which] = torch.cat(own_pieces, dim=-1)
    return torch.cat(parts, dim=-1)
