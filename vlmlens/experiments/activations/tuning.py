"""Tuning a lens on harvested activations: no pass of the model is run."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from vlmlens.annotations import checked
from vlmlens.checks import number, shown, whole
from vlmlens.errors import InputError, NonFiniteError
from vlmlens.experiments.activations.harvested import Harvest
from vlmlens.experiments.given import as_model
from vlmlens.model import HookedVLM
from vlmlens.probes.lens import log_probabilities
from vlmlens.probes.tuned import TunedLens


@checked
def tune_lens(
    model: HookedVLM,
    activations: Harvest,
    *,
    epochs: int = 4,
    size: int = 512,
    rate: int | float = 1e-3,
    seed: int = 0,
    progress: bool = True,
) -> TunedLens:
    """Train a tuned lens on harvested streams.

    Every layer's translator begins as the identity and is trained, by Adam with a rate that falls
    to 0 linearly, to lower

        KL(p || p[l]), the mean over rows,

    p being what the model makes of the last block's stream in the same row. Rows are streamed from
    the folder, those of all layers in one order. With the same folder, machine and seed it comes
    out the same.

    Args:
        model: the model that was harvested.
        activations: ``harvest(model, samples, "blocks.*.hook_resid_post", folder=...)``.
        epochs: how often all rows come.
        size: rows a step.
        rate: Adam's, at the beginning.
        seed: of the rows' order.
        progress: show a bar.

    Returns:
        The lens; ``made["losses"]`` has its mean KL over each epoch, in nats, layer by layer.

    Raises:
        InputError: a folder without the streams of all blocks, or of another width.
        NonFiniteError: a loss that is NaN or infinite: lower the rate.

    Source: Belrose et al. 2023, "Eliciting Latent Predictions from Transformers with the Tuned
    Lens", arXiv:2303.08112 (who train by SGD with momentum).

    Examples:
        >>> kept = vl.experiments.harvest(
        ...     model, samples, "blocks.*.hook_resid_post", folder="acts", progress=False
        ... )
        >>> lens = vl.experiments.tune_lens(model, kept, epochs=2, size=64, progress=False)
        >>> first, last = lens.made["losses"]
        >>> all(now < before for before, now in zip(first, last))
        True
    """
    as_model(model)
    whole(epochs, "epochs", least=1)
    number(rate, "rate", above=0)
    names = _streams(model, activations)
    start = TunedLens.identity(model)
    moved = torch.zeros_like(start.weight, device=model.device, requires_grad=True)
    bias = torch.zeros_like(start.bias, device=model.device, requires_grad=True)
    steps = epochs * -(-len(activations) // size)
    adam = torch.optim.Adam([moved, bias], lr=rate)
    decay = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: max(1 - step / steps, 0.0))
    losses: list[list[float]] = []
    with tqdm(total=steps, desc="tuned lens", disable=not progress) as bar:
        for epoch in range(epochs):
            total = torch.zeros(len(bias), dtype=torch.double)
            for rows in _rows(activations, names, size, seed + epoch, model.device):
                found = _divergence(model, rows, moved, bias)
                _step(adam, found, (moved, bias))
                decay.step()
                total += found.detach().double().cpu() * rows.shape[1]
                bar.update()
            losses.append((total / len(activations)).tolist())
    made = {
        "model": model.name,
        "samples": len(activations.samples),
        "tokens": len(activations),
        "epochs": epochs,
        "size": size,
        "rate": rate,
        "seed": seed,
        "losses": losses,
    }
    weight = start.weight + moved.detach().cpu()
    return TunedLens(weight, bias.detach().cpu(), made)


def _streams(model: HookedVLM, activations: Harvest) -> list[str]:
    """The points of all blocks' streams.

    Raises:
        InputError: one that was not harvested, or of another width.
    """
    if not isinstance(activations, Harvest):
        raise InputError(f"activations={shown(activations)}: a Harvest is wanted")
    names = [f"blocks.{layer}.hook_resid_post" for layer in range(model.layers)]
    if missing := [name for name in names if name not in activations.points]:
        raise InputError(
            f"{activations!r} has no {', '.join(missing)}: the streams after all blocks are "
            'wanted, harvest(model, samples, "blocks.*.hook_resid_post", folder=...)'
        )
    width = activations.dataset()[names[0]].sizes["d_model"]
    if width != (own := model.config.get_text_config().hidden_size):
        raise InputError(f"{activations!r} is {width} wide, {model.name} {own}: another model's")
    return names


def _rows(
    activations: Harvest, names: list[str], size: int, seed: int, device: torch.device
) -> Iterator[Float[Tensor, "layer row d_model"]]:
    """All layers' rows, the same positions in each."""
    each = [activations.tensors(name, size=size, seed=seed) for name in names]
    for parts in zip(*each, strict=True):
        yield torch.stack([part.float() for part in parts]).to(device)


def _divergence(
    model: HookedVLM,
    rows: Float[Tensor, "layer row d_model"],
    moved: Float[Tensor, "translated d_model d_model"],
    bias: Float[Tensor, "translated d_model"],
) -> Float[Tensor, " translated"]:
    """KL from the model's prediction to each translated layer's, in nats."""
    kind = next(model.hf_model.parameters()).dtype
    with torch.no_grad():
        final = log_probabilities(model, rows[-1].to(kind))
    with torch.enable_grad():
        x = rows[:-1]
        turned = x + x @ moved.transpose(-1, -2) + bias[:, None]
        read = log_probabilities(model, turned.to(kind))
        return (final.exp() * (final - read)).sum(-1).mean(-1)


def _step(
    adam: torch.optim.Optimizer,
    losses: Float[Tensor, " translated"],
    trained: tuple[Float[Tensor, "..."], ...],
) -> None:
    """One step of all layers, which share nothing."""
    if not bool(losses.isfinite().all()):
        raise NonFiniteError(f"the lens's losses are {losses.tolist()}: lower rate=")
    for own, grad in zip(trained, torch.autograd.grad(losses.sum(), trained), strict=True):
        own.grad = grad
    adam.step()
