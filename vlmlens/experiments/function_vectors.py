"""Function vectors: what a few heads write of a task, added where nobody asks for it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from vlmlens.annotations import checked
from vlmlens.cache import Save
from vlmlens.checks import whole
from vlmlens.errors import UnsupportedModelError
from vlmlens.experiments.given import as_batch, as_model, as_samples
from vlmlens.interventions import Intervention, Site, Steer
from vlmlens.model import HookedVLM
from vlmlens.model.reading.weights import weight
from vlmlens.probes.direct import tokens_of
from vlmlens.probes.labels import array
from vlmlens.sample import Sample
from vlmlens.select import Where
from vlmlens.tensors import suited

SOURCE = "arXiv:2310.15213"
Z, RESULT = "attn.hook_z", "attn.hook_result"
#: How far what heads write may be from what attention adds, relative to the largest entry.
SUMS = 0.02


@dataclass(frozen=True, eq=False)
class FunctionVector:
    """What some heads write at the last position of a task's prompts, on average, summed.

    Attributes:
        heads: (layer, head) of each, the largest effect first.
        writes: (layer, head, d_model), every head's mean write.
        effects: (sample, layer, head), by which the heads were chosen.

    Examples:
        >>> asked = [vl.Sample("What shape is it?", s.images) for s in samples]
        >>> prompts = [vl.Sample("What is it?", s.images, answer="circle") for s in samples]
        >>> found = vl.experiments.function_vector(model, asked, prompts, heads=2, progress=False)
        >>> len(found.heads), found.vector.shape
        (2, torch.Size([128]))
        >>> model.run(model.inputs(prompts), found.edit(layer=1), logits="last").logits.shape
        torch.Size([4, 1, 418])
    """

    heads: tuple[tuple[int, int], ...]
    writes: Float[Tensor, "layer head d_model"]
    effects: xr.DataArray

    @property
    def vector(self) -> Float[Tensor, " d_model"]:
        """The sum of the chosen heads' writes."""
        rows = {layer: at for at, layer in enumerate(self.effects["layer"].values.tolist())}
        return torch.stack([self.writes[rows[layer], head] for layer, head in self.heads]).sum(0)

    def edit(self, layer: int, by: int | float = 1.0) -> Steer:
        """Add it to the stream that leaves a block, at the last position."""
        last = Where(positions="last")
        return Steer(f"blocks.{layer}.hook_resid_post", last, vector=self.vector, by=by)

    def random(self, seed: int = 0) -> "FunctionVector":
        """As many heads, drawn by chance: the control."""
        layers = self.effects["layer"].values.tolist()
        every = [(layer, head) for layer in layers for head in range(self.writes.shape[1])]
        drawn = np.random.default_rng(seed).choice(len(every), len(self.heads), replace=False)
        return replace(self, heads=tuple(every[at] for at in drawn))


@checked
def function_vector(
    model: HookedVLM,
    task: Sequence[Sample],
    prompts: Sequence[Sample],
    *,
    heads: int = 10,
    batch: int = 16,
    system: str | None = None,
    progress: bool = True,
) -> FunctionVector:
    """The function vector of a task: mean writes of the heads that carry it.

    With z a head's mixture of values at the last position, its mean over the task's prompts is put
    in its place in prompts that do not ask for the task. The head's causal indirect effect is

        effect = p(answer | z put in) - p(answer)

    p being that of the first token of what the task would be answered with. The heads of the
    largest mean effect are chosen, and what they write for the task, on average, is summed.

    Args:
        model: an open model.
        task: samples that ask for it, in whatever way: by instruction, or by examples:
            ``sample.after(shots)`` asks in several turns.
        prompts: samples that do not; their ``answer`` is what the task would be answered with.
        heads: how many.
        batch: samples a pass.
        system: a system prompt.
        progress: show a bar of prompts.

    Returns:
        The vector; ``edit(layer)`` adds it, ``random()`` is one of heads drawn by chance.

    Raises:
        InputError: prompts without answers, more heads than there are.
        UnsupportedModelError: a model that norms what heads write before it is added.

    Source: Todd et al. 2023, "Function Vectors in Large Language Models", arXiv:2310.15213.

    Examples:
        >>> asked = [vl.Sample("What shape is it?", s.images) for s in samples]
        >>> prompts = [vl.Sample("What is it?", s.images, answer="circle") for s in samples]
        >>> found = vl.experiments.function_vector(model, asked, prompts, heads=2, progress=False)
        >>> dict(found.effects.sizes)
        {'sample': 4, 'layer': 4, 'head': 4}
    """
    as_model(model)
    z, writes, layers = _means(model, as_samples(task, "task"), as_batch(batch), system)
    count = z.shape[1]
    whole(heads, "heads", least=1, most=len(layers) * count)
    asked = as_samples(prompts, "prompts")
    found, inputs = [], []
    cells = [
        [Putting(f"blocks.{layer}.{Z}", Where(positions="last", heads=head), z[row, head])]
        for row, layer in enumerate(layers)
        for head in range(count)
    ]
    with model.reuse(), tqdm(total=len(asked), desc="heads", disable=not progress) as bar:
        for sample in asked:
            own = model.inputs([sample], system=system)
            token = tokens_of(model, own, None, "prompts")
            clean = model.run(own, logits="last").logits[0, -1]
            edited = model.resume(model.prefill(own), cells).logits[:, -1]
            p, before = (x.float().softmax(-1)[..., token] for x in (edited, clean))
            found.append((p - before).reshape(len(layers), count))
            inputs.append(own)
            bar.update()
    whole_batch = model.inputs(asked, system=system)
    said = ("effect", "change of the answer's probability", "probability", SOURCE)
    dims = ("sample", "layer", "head")
    effects = array(torch.stack(found), dims, whole_batch, *said, layer=layers)
    mean = effects.mean("sample").values
    order = np.argsort(-mean, axis=None, kind="stable")[:heads]
    chosen = tuple((int(layers[at // count]), int(at % count)) for at in order.tolist())
    return FunctionVector(chosen, writes, effects)


@dataclass(frozen=True, eq=False)
class Putting(Intervention):
    """One head's mixture of values, the same in every prompt."""

    mean: Float[Tensor, " d_head"] | None = None

    def edit(self, x: Float[Tensor, "*axes"], site: Site) -> Float[Tensor, "*axes"]:
        """The mean, everywhere that is meant."""
        assert self.mean is not None
        return suited(self.mean, x).expand_as(x)


def _means(
    model: HookedVLM, task: Sequence[Sample], batch: int, system: str | None
) -> tuple[Float[Tensor, "layer head d_head"], Float[Tensor, "layer head d_model"], list[int]]:
    """Every head's mean mixture and mean write at the last position, and which layers have heads.

    Raises:
        UnsupportedModelError: what heads write is not what attention adds.
    """
    layers = [int(model.hook_dict[n].point.layer or 0) for n in model.matching(f"blocks.*.{Z}")]
    sums: dict[str, Any] = {Z: 0.0, RESULT: 0.0}
    for some in _cut(task, batch):
        names = [f"blocks.*.{Z}", f"blocks.*.{RESULT}", "blocks.*.hook_attn_out"]
        saved = model.run(
            model.inputs(some, system=system),
            save=[Save(name, "last") for name in names],
            logits=False,
        ).saved
        for layer in layers:
            written = saved["result", layer].float().sum(2)[:, 0]
            added = saved[f"blocks.{layer}.hook_attn_out"][:, 0].float()
            bias = weight(model, f"blocks.{layer}", "attn", "b_O").float()
            if bool((written + bias - added).abs().max() > SUMS * added.abs().max()):
                raise UnsupportedModelError(
                    f"{model.name} norms what heads write before it is added to the stream, so "
                    "their writes have no sum there; head by head, patch attn.hook_z"
                )
        for point in sums:
            short = point.rpartition("_")[2]
            stack = torch.stack([saved[short, layer][:, 0].float().sum(0) for layer in layers])
            sums[point] = sums[point] + stack
    return sums[Z] / len(task), sums[RESULT] / len(task), layers


def _cut(task: Sequence[Sample], size: int) -> Iterator[Sequence[Sample]]:
    for start in range(0, len(task), size):
        yield task[start : start + size]
