"""Attribution: which activations a score depends on, from gradients in place of many patches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from vlmlens.annotations import checked
from vlmlens.cache import ActivationCache, Save
from vlmlens.errors import InputError
from vlmlens.interventions import Intervention, Site
from vlmlens.interventions.stored import refuse_misaligned, refuse_other_model
from vlmlens.model import HookedVLM, Inputs, Run
from vlmlens.model.decoding.likelihood import foretold
from vlmlens.probes.grids import looking_at
from vlmlens.probes.labels import array
from vlmlens.select import Where
from vlmlens.tensors import suited

NEEDS = ()

#: From a run to one number a sample, a tensor that keeps its graph.
Score = Callable[[Run], Float[Tensor, " batch"]]


@checked
def answer_score(run: Run) -> Float[Tensor, " sample"]:
    """Log probability of the answer that the inputs hold, in nats; it keeps its graph.

    Raises:
        EmptySelectionError: inputs without an answer.

    Examples:
        >>> inputs = model.inputs(samples, answers=[each.answer for each in samples])
        >>> vl.probes.answer_score(model.run(inputs)).shape
        torch.Size([4])
    """
    ids = run.inputs.tensors["input_ids"]
    sums = []
    for index, (told, said) in enumerate(foretold(run.inputs.layouts, ids.device)):
        log_p = _wide(run.logits[index, told]).log_softmax(-1)
        sums.append(log_p.gather(1, ids[index, said][:, None]).sum())
    return torch.stack(sums)


@checked
def attribution_patching(
    model: HookedVLM,
    clean: Inputs,
    corrupted: Inputs,
    point: str = "blocks.*.hook_resid_pre",
    *,
    score: Score = answer_score,
    save: Sequence[str | Save] = (),
    by_channel: bool = False,
) -> xr.DataArray:
    """What patching each activation of one run into another would do, to first order.

    With a an activation at one layer and position (and head),

        effect = sum over channels of (a_clean - a_corrupted) d score / d a,

    the derivative taken in the corrupted run: two passes forward and one back, whatever the number
    of layers and positions. Where the score is linear in a it is what ``PatchFrom`` would do, one
    activation at a time. Change the two inputs' places for the other direction.

    Args:
        model: the open model.
        clean: whole inputs, pictures and all; the run that activations come from.
        corrupted: whole inputs, aligned with them; the run that they would be put into.
        point: a point, or one point of every layer.
        score: what is to change; by default the log probability of the corrupted inputs' answer.
        save: what else the score reads of ``run.saved``.
        by_channel: keep the sum's terms: each neuron's, or each feature's of a dictionary that is
            spliced in.

    Returns:
        (sample, layer, pos) and the point's other axes but the last (with it, by channel); without
        ``layer`` for a point that exists once. In the score's units; 0 where nothing would change.

    Raises:
        InputError: inputs that do not align, or a point without positions.

    Source:
        Nanda 2023, "Attribution Patching"; Syed et al. 2023, arXiv:2310.10348.

    Examples:
        >>> pair = vl.datasets.counterfactual_pairs(1, kind="swap")[0]
        >>> clean = model.inputs([pair.clean], answers=[pair.clean.answer])
        >>> corrupted = model.inputs([pair.corrupted], answers=[pair.clean.answer])
        >>> effect = vl.probes.attribution_patching(model, clean, corrupted)
        >>> effect.dims, effect.sizes["layer"]
        (('sample', 'layer', 'pos'), 4)
    """
    source = model.run(clean, save=point).saved
    lever = _Lever(point=point)
    run = model.run(corrupted, [lever], [point, *save], grad=True)
    names = model.matching(point)
    for name in names:
        _refuse_pictures(name, run.saved.axes[name])
        refuse_misaligned(source, run.inputs.layouts, name, run.saved[name])
    grads = torch.autograd.grad(score(run).sum(), [lever.leaves[name] for name in names])
    parts = [
        _wide(source[name] - run.saved[name].detach()) * _wide(grad)
        for name, grad in zip(names, grads, strict=True)
    ]
    parts = parts if by_channel else [part.sum(-1) for part in parts]
    return _labelled(parts, names, run, "attribution", "arXiv:2310.10348")


@checked
def integrated_gradients(
    model: HookedVLM,
    inputs: Inputs,
    baseline: Inputs,
    point: str = "hook_embed",
    *,
    where: Where = Where(positions="vision"),
    score: Score = answer_score,
    save: Sequence[str | Save] = (),
    steps: int = 16,
) -> xr.DataArray:
    """How much of a score each token brings, along a straight way from a baseline.

    With x a token's activation and b the baseline's, for m steps and t = (k - 1/2) / m,

        brought = sum over channels of (x - b) (1/m) sum over k of d score / d x at b + t (x - b)

    Over all chosen tokens these sum to score(x) - score(b), the more exactly the more steps; the
    coordinates ``difference`` and ``residual`` (difference minus sum) say how exactly. Zeros are no
    baseline here: a block that begins with an RMSNorm sees the same at every t but the smallest.

    Args:
        model: the open model.
        inputs: what is explained.
        baseline: aligned inputs whose activation the way begins at: a grey picture, a counterpart.
        point: one point with positions.
        where: the tokens (and heads) that move along; the image, by default.
        score: what is explained; by default the log probability of the inputs' answer.
        save: what else the score reads of ``run.saved``.
        steps: m; each is a pass forward and back.

    Returns:
        (sample, pos) and the point's other axes but the last, in the score's units; 0 outside
        ``where``. Coordinates ``difference`` and ``residual`` (sample).

    Raises:
        InputError: a baseline that does not align, a point without positions, several points.

    Source:
        Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks", arXiv:1703.01365.

    Examples:
        >>> pair = vl.datasets.counterfactual_pairs(1, kind="swap")[0]
        >>> inputs = model.inputs([pair.clean], answers=[pair.clean.answer])
        >>> baseline = model.inputs([pair.corrupted], answers=[pair.clean.answer])
        >>> found = vl.probes.integrated_gradients(model, inputs, baseline, steps=2)
        >>> np.allclose(found.sum("pos") + found.residual, found.difference, atol=1e-4)
        True
    """
    names = model.matching(point)
    if len(names) != 1 or steps < 1:
        raise InputError(
            f"one point and at least one step are needed; {point!r} are {len(names)}, steps={steps}"
        )
    start = model.run(baseline, save=point).saved
    ends = []
    with torch.no_grad():
        for share in (1.0, 0.0):
            way = _Between(point=point, where=where, share=share, start=start)
            run = model.run(inputs, [way], [*save, point])
            ends.append(score(run))
    parts: list[Tensor] = []
    for number in range(steps):
        way = _Between(point=point, where=where, share=(number + 0.5) / steps, start=start)
        run = model.run(inputs, [way], [*save, point], grad=True)
        _refuse_pictures(names[0], run.saved.axes[names[0]])
        (grad,) = torch.autograd.grad(score(run).sum(), [way.leaves[names[0]]])
        parts.append((way.leaves[_LENGTH] * _wide(grad)).sum(-1) / steps)
    found = _labelled(
        [torch.stack(parts).sum(0)], names, run, "integrated_gradient", "arXiv:1703.01365"
    )
    found = found.isel(layer=0, drop=True) if "layer" in found.dims else found
    difference = (ends[0] - ends[1]).cpu().numpy()
    summed = found.sum([d for d in found.dims if d != "sample"]).values
    return found.assign_coords(
        difference=("sample", difference), residual=("sample", difference - summed)
    )


@checked
def patch_map(positions: xr.DataArray, inputs: Inputs, image: int = 0) -> xr.DataArray:
    """Values by position, laid on one image's grid: (sample, ..., row, column).

    Args:
        positions: an array with the dimensions ``sample`` and ``pos``.
        inputs: where the positions lie; every sample with a grid of one size.
        image: which of each sample's images.

    Raises:
        InputError: grids of different sizes, or an image in several tiles.
        EmptySelectionError: a sample without that image.

    Examples:
        >>> pair = vl.datasets.counterfactual_pairs(1, kind="swap")[0]
        >>> clean = model.inputs([pair.clean], answers=[pair.clean.answer])
        >>> corrupted = model.inputs([pair.corrupted], answers=[pair.clean.answer])
        >>> effect = vl.probes.attribution_patching(model, clean, corrupted, "hook_embed")
        >>> dict(vl.probes.patch_map(effect, clean).sizes)
        {'sample': 1, 'row': 8, 'column': 8}
    """
    grids = {layout.grid(image) for layout in inputs.layouts}
    if len(grids) > 1:
        raise InputError(f"the images have grids of different sizes, {sorted(grids)}")
    ((rows, columns),) = grids
    here = np.stack([layout.vision(image) for layout in inputs.layouts])
    if here.shape[1] != rows * columns:
        raise InputError(f"{here.shape[1]} tokens do not fill one grid of {rows} x {columns}")
    at = xr.DataArray(here.reshape(-1, rows, columns), dims=("sample", "row", "column"))
    own = xr.DataArray(np.arange(len(here)), dims="sample")
    found = positions.isel(sample=own, pos=at)
    coords: dict[str, Any] = {"row": range(rows), "column": range(columns)}
    coords |= looking_at(inputs.layouts, image)
    return found.transpose("sample", ..., "row", "column").assign_coords(coords)


#: Under this name ``_Between`` keeps how far it is from the baseline to the activation.
_LENGTH = "length"


@dataclass(frozen=True, eq=False)
class _Lever(Intervention):
    """Adds zeros to an activation: the score's gradient in them is that in the activation."""

    leaves: dict[str, Float[Tensor, "..."]] = field(default_factory=dict)

    def edit(self, x: Float[Tensor, "*axes"], site: Site) -> Float[Tensor, "*axes"]:
        self.leaves[site.name] = torch.zeros_like(x, requires_grad=True)
        return x + self.leaves[site.name]


@dataclass(frozen=True, eq=False)
class _Between(_Lever):
    """Puts a point of the straight way from a baseline in an activation's place."""

    share: float = 1.0
    start: ActivationCache = field(default_factory=lambda: ActivationCache({}, {}))

    def edit(self, x: Float[Tensor, "*axes"], site: Site) -> Float[Tensor, "*axes"]:
        refuse_other_model(self.start, site)
        refuse_misaligned(self.start, site.layouts, site.name, x)
        begin = suited(self.start[site.name], x)
        self.leaves[_LENGTH] = _wide((x - begin).detach())
        return super().edit((begin + self.share * (x - begin)).detach(), site)


def _wide(x: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """In single precision at least."""
    return x.float() if x.element_size() < 4 else x


def _refuse_pictures(name: str, axes: tuple[str, ...]) -> None:
    if axes[:2] != ("batch", "pos"):
        raise InputError(
            f"{name} has the axes {' '.join(axes)}: attribution is to positions of a sequence, "
            "for example at hook_embed"
        )


def _labelled(
    parts: list[Float[Tensor, "sample ..."]], names: list[str], run: Run, name: str, source: str
) -> xr.DataArray:
    """One array of the points' values, sample first."""
    own = run.saved.axes[names[0]][1 : parts[0].ndim]
    layered = "blocks." in names[0]
    values = torch.stack([part.cpu() for part in parts], dim=1) if layered else parts[0].cpu()
    dims = ("sample", "layer", *own) if layered else ("sample", *own)
    found = array(values, dims, run.inputs, name, name.replace("_", " "), "score", source)
    if layered:
        layers = [int(n.split("blocks.")[1].split(".")[0]) for n in names]
        found = found.assign_coords(layer=layers)
    return found
