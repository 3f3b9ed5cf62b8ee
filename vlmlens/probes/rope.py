"""RoPE sensitivity: what a turn of all vision keys does to one attention row."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import xarray as xr
from einops import einsum, rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from vlmlens.cache import Save
from vlmlens.errors import EmptySelectionError, InputError, UnsupportedModelError
from vlmlens.model import Generation, HookedVLM, Inputs, Rope, Run
from vlmlens.model.rotary import rotate, spread
from vlmlens.probes.labels import array, layer_numbers
from vlmlens.probes.steps import LAST_ROWS

NEEDS = (
    Save("blocks.*.attn.hook_rot_q", rows="last"),
    Save("blocks.*.attn.hook_rot_k"),
    LAST_ROWS,
)
SOURCE = "arXiv:2503.17349"
#: How far a saved row may lie from softmax(q.k): half precision rounds its weights.
TOLERANCE = 0.05
LONG = {
    "alpha_v": ("attention to vision tokens, alpha_V", "fraction"),
    "delta_g_v": ("mean change of a vision key's score, delta g_V", "1/step"),
    "delta_alpha_v": ("change of attention to vision tokens, delta alpha_V", "fraction"),
    "eq11_residual": ("delta alpha_V minus its first-order form", "fraction"),
    "identity_residual": ("delta alpha_V minus its exact form", "fraction"),
    "delta_g_t": ("the same for all other keys, delta g_T", "1/step"),
    "delta_alpha_v_by_text": ("change of alpha_V when all other keys turn", "fraction"),
    "slope_g_v": ("delta g_V as delta vanishes", "1/step"),
    "slope_alpha_v": ("derivative of alpha_V by delta at 0", "1/step"),
}


def rope_sensitivity(
    run: Run | Generation,
    *,
    delta: float | Sequence[float] = 1.0,
    keys: str = "past",
    axis: str | None = None,
    bands: int | None = None,
) -> xr.Dataset:
    """Turn every vision key by ``delta`` RoPE steps and compare one query's attention.

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
    With all OTHER visible keys turned instead (start token, system, user), ``delta_g_t`` and
    ``delta_alpha_v_by_text`` say the same of text. This is the direct path: one layer's scores
    change, everything before them is frozen; ``experiments.causal_effects`` turns or moves tokens
    in the real forward pass.

    Args:
        run: a run that saved ``NEEDS``: the query is its last position. The paper appends one
            end token for it (``paper_query``); a prompt as it is asks the last prompt token; a
            generation is averaged over its own steps.
        delta: steps, any number but 0; several are measured in the one pass.
        keys: ``"past"`` for keys strictly before the query, ``"all"`` for the query's own too.
        axis: for rotations that have several (``"time"``, ``"height"``, ``"width"``), the one
            to turn along; by default all of them.
        bands: also turn each of this many bands of frequencies alone, fastest first. Scores are
            sums over planes, so ``delta_g_v`` adds up over bands; ``delta_alpha_v`` does not.

    Returns:
        The variables above, each (sample, layer, head); those that depend on it have ``delta``
        first where several are given, and ``band`` after it where bands are. delta_g and slopes
        are NaN where a head gives that modality no weight at all.

    Raises:
        InputError: a delta of 0, bands that are not there, or a model without RoPE.
        EmptySelectionError: a sample has no vision tokens.
        UnknownPointError: the run did not save what this needs.
        UnsupportedModelError: weights that are not a softmax of q.k * scaling, so that turning
            keys would measure another model's attention.

    Source:
        Qi et al. 2025, "Beyond Semantics", arXiv:2503.17349, and its released code, which
        divides by max(delta, 1e-12) and so is right for positive delta only. Bands, text, slopes
        and residuals are ours.
    """
    several = isinstance(delta, Sequence)
    deltas = [float(d) for d in delta] if isinstance(delta, Sequence) else [float(delta)]
    if not deltas or 0 in deltas:
        raise InputError(f"delta={delta}: a turn by 0 changes nothing; any other number will do")
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


def paper_query(model: HookedVLM, inputs: Inputs) -> Inputs:
    """The inputs with the paper's query at the end: one end-of-sequence token."""
    end = model.config.get_text_config().eos_token_id
    end = end[0] if isinstance(end, list) else end
    return inputs.appended(torch.full((len(inputs), 1), end))


@dataclass(frozen=True, eq=False)
class Row:
    """One layer's query row of one sample: what ``turned`` compares before and after.

    Attributes:
        query: rotated queries, one a head.
        keys: rotated keys of all visible and hidden positions.
        weights: attention before the turn; 0 where a key is hidden.
        scaling: what q.k is multiplied with.
        softcap: scores are ``cap tanh(. / cap)`` of that, where the model caps them.
    """

    query: Float[Tensor, "head d_head"]
    keys: Float[Tensor, "key kv_head d_head"]
    weights: Float[Tensor, "head key"]
    scaling: float

    softcap: float | None = None

    def scores(self, keys: Float[Tensor, "key kv_head d_head"]) -> Float[Tensor, "head key"]:
        """q.k * scaling, soft-capped, for other keys in the place of these."""
        found = self._products(keys)
        return found if self.softcap is None else torch.tanh(found / self.softcap) * self.softcap

    def slope(self, moving: Float[Tensor, "key kv_head d"]) -> Float[Tensor, "head key"]:
        """How fast scores change while keys move so fast, in their first channels."""
        found = self._products(moving)
        if self.softcap is None:
            return found
        return found * (1 - (self.scores(self.keys) / self.softcap) ** 2)

    def _products(self, keys: Float[Tensor, "key kv_head d"]) -> Float[Tensor, "head key"]:
        grouped = rearrange(
            self.query[:, : keys.shape[-1]], "(kv group) d -> kv group d", kv=keys.shape[1]
        )
        found = einsum(grouped, keys, "kv group d, key kv d -> kv group key")
        return rearrange(found, "kv group key -> (kv group) key") * self.scaling


def _one_pass(
    run: Run, deltas: list[float], keys: str, axis: str | None, bands: int | None
) -> dict[str, Float[Tensor, "delta band sample layer head"]]:
    if run.rope is None:
        raise InputError("this model has no rotary embedding to turn")
    queries = run.saved.stack(NEEDS[0])[:, :, -1]  # layer batch head d_head
    stacked = run.saved.stack(NEEDS[1])  # layer batch pos kv_head d_head
    rows = run.saved.stack(LAST_ROWS)[..., -1, :]  # layer batch head key
    scaling = run.scaling if run.scaling is not None else queries.shape[-1] ** -0.5
    turns = [run.rope[layer] for layer in layer_numbers(run, NEEDS[1])]
    samples = []
    for index, layout in enumerate(run.inputs.layouts):
        size = stacked.shape[2]
        seen = ~layout.mask("pad")[-size:]
        if keys == "past":
            seen[np.flatnonzero(seen)[-1]] = False
        vision = torch.from_numpy(layout.mask("vision")[-size:][seen])
        if not vision.any():
            raise EmptySelectionError(f"sample {index} has no vision tokens: {layout}")
        kept = torch.from_numpy(seen).to(stacked.device)
        layers = []
        for layer in range(len(queries)):
            row = Row(
                queries[layer, index].float(),
                stacked[layer, index, kept].float(),
                rows[layer, index][:, kept].float(),
                scaling,
                run.softcap,
            )
            ropes = [turns[layer]] if bands is None else split(turns[layer], bands)
            layers.append(_layer(row, vision.to(stacked.device), ropes, deltas, axis))
        samples.append({name: torch.stack([x[name] for x in layers], 2) for name in layers[0]})
    return {name: torch.stack([x[name] for x in samples], 2).cpu() for name in samples[0]}


def _layer(
    row: Row,
    vision: Bool[Tensor, " key"],
    ropes: list[Rope],
    deltas: list[float],
    axis: str | None,
) -> dict[str, Float[Tensor, "delta band head"]]:
    before = row.scores(row.keys)
    hidden = row.weights == 0  # by a mask, or a weight so small that it rounded to nothing
    weights = before.masked_fill(hidden, -torch.inf).softmax(-1).nan_to_num()
    _check(weights, row.weights)
    alpha = weights[:, vision].sum(-1)
    found: list[list[dict[str, Tensor]]] = []
    for delta in deltas:
        found.append([])
        for rope in ropes:
            change = row.scores(rope.turn(row.keys, delta, axis)) - before
            found[-1].append(
                turned(weights, change, vision, delta)
                | _slopes(row, weights, vision, rope, axis)
                | {"alpha_v": alpha}
            )
    return {
        name: torch.stack([torch.stack([b[name] for b in d]) for d in found])
        for name in found[0][0]
    }


def turned(
    weights: Float[Tensor, "head key"],
    change: Float[Tensor, "head key"],
    vision: Bool[Tensor, " key"],
    delta: float,
) -> dict[str, Float[Tensor, " head"]]:
    """What a change of scores does to attention, made to the vision keys, or to all others.

    Weights after a change e of the scores are A0 exp(e) / sum A0 exp(e), so no score is needed.
    """
    alpha = weights[:, vision].sum(-1)
    gains, shifts = [], []
    for chosen in (vision, ~vision):
        e = torch.where(chosen, change, 0.0)
        # The largest change taken out, as in any softmax: it cancels.
        after = weights * (e - e.amax(-1, keepdim=True)).exp()
        after = after / after.sum(-1, keepdim=True)
        shifts.append(after[:, vision].sum(-1) - alpha)
        gains.append(_mean(weights, change, chosen) / delta)
    # alpha S, and not S: where the image gets nothing, S is 0 / 0 and nothing can change.
    grown = (weights[:, vision] * change[:, vision].exp()).sum(-1)
    exact = (1 - alpha) * (grown - alpha) / (grown + 1 - alpha)
    first = (1 - alpha) * (weights[:, vision] * change[:, vision]).sum(-1)
    return {
        "delta_g_v": gains[0],
        "delta_alpha_v": shifts[0],
        "eq11_residual": shifts[0] - first,
        "identity_residual": shifts[0] - exact,
        "delta_g_t": gains[1],
        "delta_alpha_v_by_text": shifts[1],
    }


def split(rope: Rope, bands: int) -> list[Rope]:
    """One layer's rotation, one band of planes at a time: as many planes in each, fastest first.

    Raises:
        InputError: more bands than planes, or none.
    """
    planes = rope.step.shape[-1]
    if not 1 <= bands <= planes:
        raise InputError(f"bands={bands}: this rotation has {planes} planes, so 1 to {planes}")
    speed = rope.step.reshape(-1, planes).abs().sum(0)
    made = []
    for part in speed.argsort(descending=True, stable=True).tensor_split(bands):
        mask = torch.zeros(planes, dtype=torch.bool, device=rope.step.device)
        mask[part] = True
        made.append(replace(rope, step=torch.where(mask, rope.step, 0.0)))
    return made


def _slopes(
    row: Row, weights: Tensor, vision: Tensor, rope: Rope, axis: str | None
) -> dict[str, Tensor]:
    """The derivatives at delta = 0: a key moves at right angles to itself, plane by plane."""
    step = rope.step.sum(1) if axis is None else rope.step[:, rope.axes.index(axis)]
    speed = spread(step, rope.pairing)[0].to(row.keys)
    turned = row.keys[..., : len(speed)]
    moving = rotate(turned, torch.zeros_like(speed), speed, rope.pairing)
    speeds, alpha = row.slope(moving), weights[:, vision].sum(-1)
    whole = (weights[:, vision] * speeds[:, vision]).sum(-1)
    return {"slope_g_v": _mean(weights, speeds, vision), "slope_alpha_v": (1 - alpha) * whole}


def _mean(weights: Tensor, change: Tensor, chosen: Tensor) -> Float[Tensor, " head"]:
    """The mean change over the chosen keys, each by its weight."""
    part = weights[:, chosen]
    return (part * change[:, chosen]).sum(-1) / part.sum(-1)


def _check(ours: Tensor, saved: Tensor) -> None:
    """The saved row, without the query's own key where that is left out, is our softmax."""
    total = saved.sum(-1, keepdim=True)
    theirs = torch.where(total > 0, saved / total, 0.0)
    if (apart := float((ours - theirs).abs().max())) > TOLERANCE:
        raise UnsupportedModelError(
            f"attention is not softmax(q.k * scaling) here: weights differ by up to {apart:.2g} "
            "(an edit of scores?); turning keys would measure something else"
        )
