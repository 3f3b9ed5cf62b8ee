"""RoPE sensitivity: what rotating all vision keys does to one attention row."""

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from vlmlens.annotations import checked
from vlmlens.cache import Save
from vlmlens.errors import EmptySelectionError, InputError, UnknownPointError
from vlmlens.model import Generation, HookedVLM, Inputs, Run
from vlmlens.probes.labels import array, layer_numbers
from vlmlens.probes.rotating import Row, compared, split
from vlmlens.probes.steps import LAST_ROWS
from vlmlens.tensors import onto

NEEDS = (
    Save("blocks.*.attn.hook_rot_q", rows="last"),
    Save("blocks.*.attn.hook_rot_k"),
    LAST_ROWS,
)
SOURCE = "arXiv:2503.17349"
LONG = {
    "alpha_v": ("attention to vision tokens, alpha_V", "fraction"),
    "delta_g_v": ("mean change of a vision key's score, delta g_V", "1/step"),
    "delta_alpha_v": ("change of attention to vision tokens, delta alpha_V", "fraction"),
    "eq11_residual": ("delta alpha_V minus its first-order form", "fraction"),
    "identity_residual": ("delta alpha_V minus its exact form", "fraction"),
    "delta_g_t": ("the same for all other keys, delta g_T", "1/step"),
    "delta_alpha_v_by_text": ("change of alpha_V when all other keys are rotated", "fraction"),
    "slope_g_v": ("delta g_V as delta vanishes", "1/step"),
    "slope_alpha_v": ("derivative of alpha_V by delta at 0", "1/step"),
}


@checked
def rope_sensitivity(
    run: Run | Generation,
    *,
    delta: float | Sequence[float] = 1.0,
    keys: str = "past",
    axis: str | None = None,
    bands: int | None = None,
) -> xr.Dataset:
    """Rotate every vision key by ``delta`` RoPE steps and compare one query's attention.

    With scores l0[k] = q.k * scaling and A0 = softmax(l0), every vision key's position p becomes
    p + delta, ``delta`` nearer to the query, which gives l1 and A1. Over the vision keys V, with
    w = A0[v] / alpha_V and e = l1[v] - l0[v]:

        alpha_V       = sum A0[v]
        delta_g_V     = sum w e / delta
        delta_alpha_V = sum A1[v] - alpha_V
        eq11_residual = delta_alpha_V - alpha_V (1 - alpha_V) delta delta_g_V
        identity_residual = delta_alpha_V - its exact form
                        alpha_V (1 - alpha_V) (S - 1) / (alpha_V S + 1 - alpha_V), S = sum w exp(e)
        slope_g_V     = lim delta_g_V as delta vanishes
        slope_alpha_V = alpha_V (1 - alpha_V) slope_g_V

    ``eq11_residual`` is what the paper's first-order Eq. 11 leaves out, and vanishes as delta does;
    ``identity_residual`` is rounding.
    With all OTHER visible keys rotated instead (start token, system, user), ``delta_g_t`` and
    ``delta_alpha_v_by_text`` say the same of text. This is the direct path: one layer's scores
    change, everything before them is frozen; ``experiments.causal_effects`` rotates or moves tokens
    in the real forward pass.

    Args:
        run: a run that saved ``NEEDS``: the query is its last position. The paper appends one
            end token for it (``paper_query``); a prompt as it is asks the last prompt token; a
            generation is averaged over its own steps.
        delta: steps, any number but 0; several are measured in the one pass.
        keys: ``"past"`` for keys strictly before the query, ``"all"`` for the query's own too.
        axis: for rotations that have several (``"time"``, ``"height"``, ``"width"``), the one
            to rotate along; by default all of them.
        bands: also rotate each of this many bands of frequencies alone, fastest first. Scores are
            sums over planes, so ``delta_g_v`` adds up over bands; ``delta_alpha_v`` does not.

    Returns:
        The variables above, each (sample, layer, head); those that depend on it have ``delta``
        first where several are given, and ``band`` after it where bands are. delta_g and slopes
        are NaN where a head gives that modality no weight at all.

    Raises:
        InputError: a delta of 0, bands that are not there, or a model without RoPE.
        EmptySelectionError: a sample has no vision tokens.
        UnknownPointError: the run did not save what this needs.
        UnsupportedModelError: weights that are not a softmax of q.k * scaling, so that rotating
            keys would measure another model's attention.

    Source:
        Qi et al. 2025, "Beyond Semantics", arXiv:2503.17349, and its released code, which
        divides by max(delta, 1e-12) and so is right for positive delta only. Bands, text, slopes
        and residuals are ours.

    Examples:
        >>> run = model.run(model.inputs(samples), save=vl.probes.rope.NEEDS)
        >>> found = vl.probes.rope_sensitivity(run, delta=(-1.0, 1.0))
        >>> dict(found.delta_alpha_v.sizes), bool((abs(found.identity_residual) < 1e-4).all())
        ({'delta': 2, 'sample': 4, 'layer': 4, 'head': 4}, True)
    """
    several = isinstance(delta, Sequence)
    deltas = [float(d) for d in delta] if isinstance(delta, Sequence) else [float(delta)]
    if not deltas or 0 in deltas:
        raise InputError(
            f"delta={delta}: a rotation by 0 changes nothing; any other number will do"
        )
    if keys not in ("past", "all"):
        raise InputError(f"keys={keys!r}; there is: past, all")
    total: dict[str, Tensor] = {}
    count = torch.zeros(len(run.inputs))
    for number, step in enumerate(run.steps):
        own = torch.ones(len(run.inputs))
        if isinstance(run, Generation):
            own = (run.lengths.cpu() > number).float()
        for name, value in _one_pass(step, deltas, keys, axis, bands).items():
            # delta band sample layer head
            kept = torch.where(own[:, None, None] > 0, value, 0.0)
            total[name] = total.get(name, torch.zeros_like(kept)) + kept
        count += own
    names = ["sample", "layer", "head"]
    coords = {"layer": layer_numbers(run, NEEDS[0]), "delta": deltas}
    if bands is not None:
        coords["band"] = list(range(bands))
    arrays = {}
    for name, value in total.items():
        mean, dims = value / count[:, None, None], ["delta", "band", *names]
        if name in ("alpha_v", "slope_g_v", "slope_alpha_v") or not several:
            mean, dims = mean[0], dims[1:]
        if name == "alpha_v" or bands is None:
            at = dims.index("band")
            mean, dims = mean.select(at, 0), [d for d in dims if d != "band"]
        here = {k: v for k, v in coords.items() if k in dims}
        arrays[name] = array(mean, tuple(dims), run.inputs, name, *LONG[name], SOURCE, **here)
    said = {"delta": deltas if several else deltas[0], "keys": keys, "source": SOURCE}
    return xr.Dataset(arrays, attrs=said | ({"axis": axis} if axis else {}))


@checked
def paper_query(model: HookedVLM, inputs: Inputs) -> Inputs:
    """The inputs with the paper's query at the end: one end-of-sequence token.

    Examples:
        >>> inputs = model.inputs([sample])
        >>> len(vl.probes.paper_query(model, inputs).layouts[0]) - len(inputs.layouts[0])
        1
    """
    end = model.config.get_text_config().eos_token_id
    end = end[0] if isinstance(end, list) else end
    return inputs.appended(torch.full((len(inputs), 1), end))


def _one_pass(
    run: Run, deltas: list[float], keys: str, axis: str | None, bands: int | None
) -> dict[str, Float[Tensor, "delta band sample layer head"]]:
    if run.rope is None:
        raise InputError("this model has no rotary embedding to rotate by")
    # Layer by layer: heads may be of another width in another layer.
    numbers = layer_numbers(run, NEEDS[0])
    if not numbers:
        raise UnknownPointError(NEEDS[0].points, run.saved, "in what this run saved")
    names = [f"blocks.{number}.attn.hook_" for number in numbers]
    samples = []
    for index, layout in enumerate(run.inputs.layouts):
        layers = []
        for number, name in zip(numbers, names, strict=True):
            query = run.saved[Save(name + "rot_q", rows="last")][index, -1].float()
            stored = run.saved[Save(name + "rot_k")][index]
            weights = run.saved[Save(name + "pattern", rows="last")][index, :, -1].float()
            seen = ~layout.mask("pad")[-len(stored) :]
            if keys == "past":
                seen[np.flatnonzero(seen)[-1]] = False
            vision = torch.from_numpy(layout.mask("vision")[-len(stored) :][seen])
            if not vision.any():
                raise EmptySelectionError(f"sample {index} has no vision tokens: {layout}")
            kept = onto(torch.from_numpy(seen), stored.device)
            scaling = run.scaling if run.scaling is not None else query.shape[-1] ** -0.5
            row = Row(query, stored[kept].float(), weights[:, kept], scaling, run.softcap)
            ropes = [run.rope[number]] if bands is None else split(run.rope[number], bands)
            layers.append(compared(row, onto(vision, stored.device), ropes, deltas, axis))
        samples.append(
            {name: torch.stack([x[name].cpu() for x in layers], 2) for name in layers[0]}
        )
    return {name: torch.stack([x[name] for x in samples], 2) for name in samples[0]}
