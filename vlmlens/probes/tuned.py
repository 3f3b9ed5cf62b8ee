"""Tuned lens: the logit lens, with a learned translation of every layer's stream first."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vlmlens.annotations import checked
from vlmlens.cache import Save
from vlmlens.checks import path, shown
from vlmlens.errors import DataError, InputError
from vlmlens.model import HookedVLM, Inputs
from vlmlens.positions import Positions
from vlmlens.probes.labels import array, layer_numbers
from vlmlens.probes.lens import POINTS, Lens, lens_needs, log_probabilities

SOURCE = "arXiv:2303.08112"


@dataclass(frozen=True, eq=False)
class TunedLens:
    """Affine translators of the streams that leave a model's blocks, one a layer.

    Layer l's stream h becomes weight[l] h + bias[l], which the final norm and the unembedding read:

        p[l] = softmax(unembed(final_norm(weight[l] h[l] + bias[l])))

    ``experiments.tune_lens`` trains one. The last block has none: the model reads it as it is.

    Attributes:
        weight: one matrix a layer, of blocks 0 to ``layer`` - 1; the identity before training.
        bias: what is added.
        made: how it was made: the model's name, samples, tokens, seed, losses.

    Raises:
        InputError: weights and biases that are not of one shape.

    Source: Belrose et al. 2023, "Eliciting Latent Predictions from Transformers with the Tuned
    Lens", arXiv:2303.08112.

    Examples:
        >>> lens = vl.probes.TunedLens.identity(model)
        >>> lens.weight.shape, lens.bias.shape  # the last of four blocks needs none
        (torch.Size([3, 128, 128]), torch.Size([3, 128]))
        >>> lens.save("lens.safetensors")
        >>> torch.equal(vl.probes.TunedLens.load("lens.safetensors").weight, lens.weight)
        True
    """

    weight: Float[Tensor, "layer d_model d_model"]
    bias: Float[Tensor, "layer d_model"]
    made: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        layers, width = self.bias.shape if self.bias.ndim == 2 else (-1, -1)
        if tuple(self.weight.shape) != (layers, width, width):
            raise InputError(
                f"weight is {tuple(self.weight.shape)} and bias {tuple(self.bias.shape)}: (layer "
                "d_model d_model) and (layer d_model) are wanted"
            )

    @classmethod
    def identity(cls, model: HookedVLM) -> "TunedLens":
        """The lens that translates nothing: it reads as the logit lens does."""
        width = model.config.get_text_config().hidden_size
        weight = torch.eye(width).repeat(model.layers - 1, 1, 1)
        return cls(weight, torch.zeros(model.layers - 1, width), {"model": model.name})

    def save(self, file: Path | str) -> None:
        """Keep it in a file of safetensors."""
        tensors = {"weight": self.weight.contiguous(), "bias": self.bias.contiguous()}
        told = {"made": json.dumps(dict(self.made)), "source": SOURCE}
        save_file(tensors, path(file, "file"), metadata=told)

    @classmethod
    def load(cls, file: Path | str) -> "TunedLens":
        """A lens that ``save`` kept.

        Raises:
            DataError: no such file, or one that holds no lens.
        """
        if not Path(path(file, "file")).is_file():
            raise DataError(f"{file} is no file: TunedLens.save keeps a lens in one")
        try:
            with safe_open(file, "pt") as kept:
                tensors = {name: kept.get_tensor(name) for name in ("weight", "bias")}
                made = json.loads((kept.metadata() or {}).get("made", "{}"))
        except (SafetensorError, ValueError) as error:
            raise DataError(f"{file} holds no tuned lens: {error}") from error
        return cls(tensors["weight"], tensors["bias"], made)

    def translator(self, layer: int) -> "Translation | None":
        """How a layer's stream is translated; None for those that the lens has nothing for."""
        if not 0 <= layer < len(self.weight):
            return None
        return Translation(self.weight[layer], self.bias[layer])


@dataclass(frozen=True, eq=False)
class Translation:
    """One layer's translator: weight h + bias, in float32."""

    weight: Float[Tensor, "d_model d_model"]
    bias: Float[Tensor, " d_model"]

    def __call__(self, x: Float[Tensor, "*lead d_model"]) -> Float[Tensor, "*lead d_model"]:
        weight, bias = (own.to(x.device, torch.float32) for own in (self.weight, self.bias))
        return (x.float() @ weight.T + bias).to(x.dtype)


@checked
def tuned_lens_needs(
    model: HookedVLM,
    lens: TunedLens,
    *,
    best: int = 5,
    targets: Sequence[int] = (),
    rows: Positions | None = None,
) -> tuple[Save, ...]:
    """What ``logit_lens`` needs a run to save in order to read through a tuned lens.

    Args:
        model: the model that will run, the one that the lens was trained on.
        lens: from ``experiments.tune_lens``, or ``TunedLens.load``.
        best: how many words of every position.
        targets: ids of tokens to follow through the layers.
        rows: only these positions; None reads all.

    Returns:
        One ``Save`` a layer, for ``run`` and for ``logit_lens``: the same table, the same figure.

    Raises:
        InputError: a lens of another width or depth; fewer than one word.

    Examples:
        >>> lens = vl.probes.TunedLens.identity(model)
        >>> needs = vl.probes.tuned_lens_needs(model, lens, best=3, rows="last")
        >>> run = model.run(model.inputs([sample]), save=needs)
        >>> dict(vl.probes.logit_lens(run, needs).token.sizes)
        {'sample': 1, 'layer': 4, 'pos': 1, 'rank': 3}
    """
    lens_needs(model, best=best)  # says what is wrong with the words
    refuse_other_shape(model, lens)
    names = model.matching(POINTS)
    layers = [int(model.hook_dict[name].point.layer or 0) for name in names]
    return tuple(
        Save(name, rows, Lens(model, best, tuple(targets), translator=lens.translator(layer)))
        for name, layer in zip(names, layers, strict=True)
    )


@checked
def lens_divergence(
    model: HookedVLM,
    inputs: Inputs,
    lens: TunedLens | None = None,
    *,
    rows: Positions = "last",
) -> xr.DataArray:
    """How far a lens is from what the model says in the end, layer by layer.

        KL(p || p[l]) = sum p (log p - log p[l])

    with p the model's own prediction at a position and p[l] the lens's after block l; the mean
    over the rows.

    Args:
        model: an open model.
        inputs: what it is asked; other samples than the lens was trained on.
        lens: a tuned lens; None for the logit lens.
        rows: positions, the same number in every sample.

    Returns:
        (sample, layer), nats; 0 at the last layer. ``statistics.mean_map`` gives intervals, and of
        the difference of two lenses whether one is nearer.

    Raises:
        InputError: a lens of another width or depth.

    Source: Belrose et al. 2023, arXiv:2303.08112.

    Examples:
        >>> found = vl.probes.lens_divergence(model, model.inputs(samples))
        >>> found.dims, np.allclose(found[:, -1], 0, atol=1e-4), bool((found[:, 0] > 0.1).all())
        (('sample', 'layer'), True, True)
    """
    if lens is not None:
        refuse_other_shape(model, lens)
    need = Save(POINTS, rows)
    run = model.run(inputs, save=need, logits=rows)
    final = run.logits.float().log_softmax(-1)
    layers, found = layer_numbers(run, need), []
    for layer, x in zip(layers, run.saved.stack(need), strict=True):
        turn = None if lens is None else lens.translator(layer)
        with torch.no_grad():
            read = log_probabilities(model, x if turn is None else turn(x))
        found.append((final.exp() * (final - read)).sum(-1).mean(-1))
    dims = ("sample", "layer")
    said = ("kl", "KL from the model's prediction", "nats", SOURCE)
    return array(torch.stack(found, 1), dims, inputs, *said, layer=layers)


def refuse_other_shape(model: HookedVLM, lens: TunedLens) -> None:
    """Refuse a lens that cannot be this model's.

    Raises:
        InputError: another width or another number of blocks.
    """
    if not isinstance(lens, TunedLens):
        raise InputError(f"lens={shown(lens)}: a TunedLens is wanted, of experiments.tune_lens")
    there = (model.layers - 1, model.config.get_text_config().hidden_size)
    if tuple(lens.bias.shape) != there:
        raise InputError(
            f"the lens is of {len(lens.bias) + 1} blocks of width {lens.bias.shape[1]}; "
            f"{model.name} has {there[0] + 1} of width {there[1]}: train one, tune_lens(model, ...)"
        )
