"""Direct attribution: what each head, unit and token writes towards an answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor

from vlmlens.annotations import checked
from vlmlens.cache import ActivationCache, Save
from vlmlens.checks import one_of, shown
from vlmlens.errors import InputError, UnsupportedModelError
from vlmlens.model import HookedVLM, Inputs, Norm
from vlmlens.model.reading.weights import weight
from vlmlens.positions import Positions
from vlmlens.probes.labels import array

NEEDS = ()
SOURCE = "arXiv:2211.00593"
#: What each way of taking apart reads, and at the position that is read alone or everywhere.
READS = {
    "part": ("hook_attn_out", "hook_mlp_out"),
    "head": ("attn.hook_z",),
    "source": ("attn.hook_z", "attn.hook_pattern"),
    "neuron": ("mlp.hook_post",),
}
#: The dimensions of what comes of it.
DIMS = {
    "part": ("sample", "part"),
    "head": ("sample", "layer", "head"),
    "source": ("sample", "layer", "head", "pos"),
    "neuron": ("sample", "layer", "neuron"),
}
#: One text a sample, or one for all.
Texts = str | Sequence[str]


@checked
def direct_attribution(
    model: HookedVLM,
    inputs: Inputs,
    answers: Texts | None = None,
    wrong: Texts | None = None,
    *,
    by: str = "head",
    at: Positions = "last",
) -> xr.DataArray:
    """What every head, hidden unit or source token adds to an answer's logit, directly.

    With u the direction of the answer's token in the unembedding (less that of the wrong one's),
    N the final norm with its scale s held fixed, and p the position that is read, a part x of the
    stream at p adds <N(x), u>. A head's write is a sum over the tokens that it attends to, so that
    by source

        adds[k] = pattern[p, k] <N(W_O v[k]), u>

    which says from where in the image a head's write comes. Over ``pos`` these sum to the head's;
    heads, units, the embedding and the biases sum to the logit. Where a model norms what sublayers
    write (Gemma), that norm's scale is held fixed as well. ``patch_map`` lays the image's tokens on
    their grid, for ``plots.overlay``; ``plots.heads`` draws a map of heads.

    Args:
        model: an open model.
        inputs: whole prompts, from ``model.inputs``.
        answers: one text a sample, or one for all, as it stands after the prompt; by default the
            samples' own answers.
        wrong: the answer that it is held against, the same way; None for the logit itself.
        by: ``"head"``, ``"source"`` (head and source token), ``"neuron"``, or ``"part"`` (whole
            sublayers and the embedding).
        at: the position that is read, one a sample.

    Returns:
        In logits: (sample, layer, head), with ``pos`` by source; (sample, layer, neuron); (sample,
        part). Coordinates ``total`` and ``remainder`` (sample): the logit, or the difference,
        before a soft cap, and what of it these parts do not add. Layers that have no such part
        are left out.

    Raises:
        InputError: no such way, no answer, answers that begin alike, several positions a sample.
        UnsupportedModelError: a stream that is no sum of what is written into it, weights that are
            not at hand.

    Source:
        Wang et al. 2022, "Interpretability in the Wild", arXiv:2211.00593 (direct logit
        attribution); Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits" (OV).

    Examples:
        >>> inputs = model.inputs(samples[:2])
        >>> found = vl.probes.direct_attribution(model, inputs, "red", "blue", by="source")
        >>> dict(found.sizes)
        {'sample': 2, 'layer': 4, 'head': 4, 'pos': 80}
        >>> heads = vl.probes.direct_attribution(model, inputs, "red", "blue")
        >>> np.allclose(found.sum("pos"), heads, atol=1e-3)
        True
        >>> dict(vl.probes.patch_map(found.sel(layer=3, head=1), inputs).sizes)
        {'sample': 2, 'row': 8, 'column': 8}
    """
    one_of(by, "by", READS)
    if (why := model.family.unlike.get("stream")) is not None:
        raise UnsupportedModelError(f"{model.name}'s stream is no sum of parts: it {why}")
    right = tokens_of(model, inputs, answers, "answers")
    other = None if wrong is None else tokens_of(model, inputs, wrong, "wrong")
    if other is not None and bool((right == other).any()):
        raise InputError("answers and wrong begin with the same token, whose logits do not differ")
    last = f"blocks.{model.layers - 1}.hook_resid_post"
    points = [n for read in READS[by] for n in model.matching(f"blocks.*.{read}")]
    saves = [Save(name, at) for name in dict.fromkeys([*points, last, "hook_embed"])]
    saves += [Save("blocks.*.attn.hook_v")] if by == "source" else []
    run = model.run(inputs, save=saves, logits=at)
    if run.logits.shape[1] != 1:
        raise InputError(f"at={at!r} are {run.logits.shape[1]} positions a sample: one is wanted")
    reading = Reading.of(model, run.saved[last][:, 0], right, other)
    found, coords = WAYS[by](model, run.saved, reading)
    total = reading.total(run.saved[last][:, 0], right, other).float().cpu()
    labelled = array(
        found, DIMS[by], inputs, "attribution", "added to the logit", "logits", SOURCE, **coords
    )
    dims = [dim for dim in labelled.dims if dim != "sample"]
    rest = total.numpy() - labelled.sum(dims).values
    return labelled.assign_coords(total=("sample", total.numpy()), remainder=("sample", rest))


def tokens_of(model: HookedVLM, inputs: Inputs, given: Any, what: str) -> Int[Tensor, " sample"]:
    """The tokens that answers begin with, one a sample, as the chat template puts them.

    Raises:
        InputError: no texts, or not one a sample.
    """
    samples = inputs.samples
    if given is None:
        given = [sample.answer for sample in samples]
    texts = [given] * len(inputs) if isinstance(given, str) else given
    if not isinstance(texts, list | tuple) or len(texts) != len(inputs):
        raise InputError(
            f"{what}={shown(given)}: one text, or one for each of {len(inputs)} samples"
        )
    found = []
    for number, text in enumerate(texts):
        if not isinstance(text, str) or not text:
            raise InputError(f"{what}: sample {number} has {shown(text)}, and no answer to read")
        if samples:
            said = model.inputs([samples[number]], answers=[text])
            at = said.layouts[0].answer()[0]
            found.append(int(said.tensors["input_ids"][0, at]))
        else:
            found.append(model.to_single_token(text))
    return torch.tensor(found, device=model.device)


@dataclass(frozen=True, eq=False)
class Reading:
    """How a part of the stream is read towards a token.

    Attributes:
        model: the open model.
        direction: through the final norm, its scale included.
    """

    model: HookedVLM
    direction: Float[Tensor, "sample d_model"]

    @classmethod
    def of(
        cls,
        model: HookedVLM,
        stream: Float[Tensor, "sample d_model"],
        right: Int[Tensor, " sample"],
        wrong: Int[Tensor, " sample"] | None,
    ) -> "Reading":
        """The reading of these tokens in streams that leave the last block."""
        token = model.tokens_to_residual_directions(right).float()
        if wrong is not None:
            token = token - model.tokens_to_residual_directions(wrong).float()
        norm = Norm.of(model.hf_model.get_submodule(model.family.final_norm), stream)
        return cls(model, _through(norm, stream, token))

    def total(
        self,
        stream: Float[Tensor, "sample d_model"],
        right: Int[Tensor, " sample"],
        wrong: Int[Tensor, " sample"] | None,
    ) -> Float[Tensor, " sample"]:
        """The logit, or the difference, before any soft cap."""
        model, rows = self.model, torch.arange(len(right), device=stream.device)
        with torch.no_grad():
            logits = model.unembed(model.ln_final(stream))
        found = logits[rows, right.to(stream.device)]
        return found if wrong is None else found - logits[rows, wrong.to(stream.device)]

    def past(
        self, point: str, within: Any, written: Float[Tensor, "sample d_model"]
    ) -> Float[Tensor, "sample d_model"]:
        """The direction before a norm of what a sublayer writes, if there is one.

        Args:
            point: what the sublayer adds to the stream.
            within: the projection whose output that would be.
            written: that output.
        """
        after = self.model.hook_dict[point].module
        if within is after or within in list(after.modules()):
            return self.direction
        return _through(Norm.of(after, written), written, self.direction)


def _through(
    norm: Norm, stream: Float[Tensor, "sample d_model"], direction: Float[Tensor, "sample d_model"]
) -> Float[Tensor, "sample d_model"]:
    """A direction after a norm, as one before it: <N(x), u> = <x, this>."""
    before = direction * norm.gain.float()
    before = before - before.mean(-1, keepdim=True) if norm.centred else before
    return before / norm.scale(stream)


def _layers(model: HookedVLM, point: str) -> list[int]:
    names = model.matching(f"blocks.*.{point}")
    return [int(model.hook_dict[name].point.layer or 0) for name in names]


def _by_part(model: HookedVLM, saved: ActivationCache, reading: Reading) -> tuple[Any, dict]:
    names = ["hook_embed", *(n for n in saved if n.endswith(("_attn_out", "_mlp_out")))]
    added = [(saved[name][:, 0].float() * reading.direction).sum(-1) for name in names]
    labels = ["embed", *(name.split(".")[1] + name.partition(".hook")[2] for name in names[1:])]
    return torch.stack(added, 1), {"part": labels}


def _out(
    model: HookedVLM, saved: ActivationCache, reading: Reading, layer: int
) -> Float[Tensor, "sample head d_head"]:
    """What every head's mixture of values is multiplied with."""
    matrix = weight(model, f"blocks.{layer}", "attn", "W_O").float()
    module = model.hook_dict[f"blocks.{layer}.attn.hook_result"].module
    with torch.no_grad():
        written = module.forward(saved["z", layer].flatten(-2))[:, 0]
    direction = reading.past(f"blocks.{layer}.hook_attn_out", module, written)
    return torch.einsum("hdm,sm->shd", matrix, direction)


def _by_head(model: HookedVLM, saved: ActivationCache, reading: Reading) -> tuple[Any, dict]:
    layers = _layers(model, "attn.hook_z")
    found = [
        (saved["z", at][:, 0].float() * _out(model, saved, reading, at)).sum(-1) for at in layers
    ]
    return torch.stack(found, 1), {"layer": layers}


def _by_source(model: HookedVLM, saved: ActivationCache, reading: Reading) -> tuple[Any, dict]:
    layers, found = _layers(model, "attn.hook_pattern"), []
    for at in layers:
        pattern, values = saved["pattern", at][:, :, 0].float(), saved["v", at].float()
        out = _out(model, saved, reading, at)
        values = values.repeat_interleave(out.shape[1] // values.shape[2], dim=2)
        found.append(pattern * torch.einsum("skhd,shd->shk", values, out))
    made = torch.stack(found, 1)
    return made, {"layer": layers, "pos": np.arange(made.shape[-1])}


def _by_neuron(model: HookedVLM, saved: ActivationCache, reading: Reading) -> tuple[Any, dict]:
    layers, found = _layers(model, "mlp.hook_post"), []
    for at in layers:
        said = saved["post", at][:, 0]
        module = model.hook_dict[f"blocks.{at}.mlp.hook_post"].module
        with torch.no_grad():
            written = module.forward(said)
        direction = reading.past(f"blocks.{at}.hook_mlp_out", module, written)
        rows = weight(model, f"blocks.{at}", "mlp", "W_out").float()
        found.append(said.float() * (direction @ rows.T))
    made = torch.stack(found, 1)
    return made, {"layer": layers, "neuron": np.arange(made.shape[-1])}


WAYS = {"part": _by_part, "head": _by_head, "source": _by_source, "neuron": _by_neuron}
