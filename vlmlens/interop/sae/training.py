"""Train a TopK autoencoder on harvested activations, in minutes on one thread."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vlmlens.interop.sae.dictionary import SAE, Settings

Rows = Float[Tensor, "row d_model"]


@dataclass(frozen=True)
class Recipe:
    """How a dictionary is trained.

    Attributes:
        d_sae: features.
        k: features that are active in a row.
        steps: batches.
        size: rows a batch.
        rate: Adam's learning rate at its highest; it falls along a cosine to nothing.
        dead: batches without a feature after which it counts as dead.
        revived: dead features that learn what the others leave over, at a time.
        share: how much that counts.
        seed: of the first weights.

    Examples:
        >>> from vlmlens.interop import sae
        >>> sae.Recipe(steps=100).d_sae
        512
    """

    d_sae: int = 512
    k: int = 16
    steps: int = 1500
    size: int = 2048
    rate: float = 1e-3
    dead: int = 100
    revived: int = 64
    share: float = 1 / 32
    seed: int = 0


def train(
    rows: Iterable[Float[Tensor, "row d_model"]],
    point: str,
    recipe: Recipe = Recipe(),
    *,
    say: Callable[[str], object] = lambda line: None,
) -> SAE:
    """A TopK autoencoder of a point's activations.

    The loss is the mean squared error over that of the mean. Features write unit vectors. Those
    that have died learn what is left over (an auxiliary loss), so that few stay dead.

    Args:
        rows: batches of activations, as ``Harvest.tensors`` gives them, at least ``recipe.steps``.
        point: where they come from.
        recipe: sizes and rates.
        say: called with a line every 500 steps.

    Returns:
        The dictionary, in float32.

    Source:
        Gao et al. 2024, "Scaling and evaluating sparse autoencoders", arXiv:2406.04093.

    Examples:
        >>> from vlmlens.interop import sae
        >>> found = vl.experiments.harvest(model, samples, "hook_embed", folder="acts")
        >>> batches = found.tensors("hook_embed", size=64, epochs=2)
        >>> sae.train(batches, "hook_embed", sae.Recipe(d_sae=32, k=4, steps=8))
        SAE(topk, 128 -> 32 at hook_embed)
    """
    batches = iter(rows)
    first = next(batches).float()
    trained = _first(first, point, recipe)
    optimizer = torch.optim.Adam(trained.parameters(), lr=recipe.rate, betas=(0.9, 0.999))
    silent = torch.zeros(recipe.d_sae, dtype=torch.long)
    scale = (first - first.mean(0)).pow(2).mean()
    for step in range(recipe.steps):
        x = first if step == 0 else next(batches).float()
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * _rate(step / recipe.steps)
        acts = trained.encode(x)
        left = x - trained.decode(acts)
        loss = left.pow(2).mean() / scale
        loss = loss + recipe.share * _revived(trained, x, left.detach(), silent, recipe) / scale
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            trained.W_dec /= trained.W_dec.norm(dim=-1, keepdim=True)
            silent = torch.where((acts > 0).any(0), 0, silent + 1)
        if (step + 1) % 500 == 0:
            share, dead = (
                float(left.detach().pow(2).mean() / scale),
                int((silent > recipe.dead).sum()),
            )
            say(f"step {step + 1}: {share:.4f} unexplained, {dead} dead")
    return trained.requires_grad_(False)


def _first(x: Rows, point: str, recipe: Recipe) -> SAE:
    """Decoder rows in the directions of samples, the encoder their transpose."""
    drawn = torch.Generator().manual_seed(recipe.seed)
    settings = Settings(
        "topk", x.shape[1], recipe.d_sae, x.shape[1], recipe.k, point=point, reads=point
    )
    mean = x.mean(0)
    directions = torch.randn(recipe.d_sae, x.shape[1], generator=drawn)
    directions /= directions.norm(dim=-1, keepdim=True)
    weights = {
        "W_enc": directions.T.contiguous().clone(),
        "W_dec": directions,
        "b_dec": mean.clone(),
        "b_enc": torch.zeros(recipe.d_sae),
    }
    return SAE(settings, weights).requires_grad_(True)


def _revived(
    trained: SAE, x: Rows, left: Rows, silent: Int[Tensor, " d_sae"], recipe: Recipe
) -> Float[Tensor, ""]:
    """How far dead features are from making what the others leave over."""
    dead = silent > recipe.dead
    count = min(recipe.revived, int(dead.sum()))
    if count == 0:
        return x.new_zeros(())
    pre = trained.pre(x).masked_fill(~dead, -torch.inf)
    kept = pre.topk(count, dim=-1, sorted=False)
    acts = torch.zeros_like(pre).scatter(-1, kept.indices, kept.values.relu())
    return (left - acts @ trained.W_dec).pow(2).mean()


def _rate(share: float) -> float:
    """The learning rate after a share of the steps: up within a twentieth, then down."""
    if share < 0.05:
        return share / 0.05
    return 0.5 * (1 + math.cos(math.pi * (share - 0.05) / 0.95))
