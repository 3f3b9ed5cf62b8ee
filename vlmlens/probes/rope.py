"""RoPE sensitivity: what a turn of all vision keys does to one attention row."""

import torch
import xarray as xr
from einops import einsum, repeat
from jaxtyping import Float
from torch import Tensor

from vlmlens.cache import Save
from vlmlens.errors import EmptySelectionError, InputError
from vlmlens.model import Rope, Run
from vlmlens.probes.labels import array

NEEDS = (Save("blocks.*.attn.hook_rot_q", rows="last"), Save("blocks.*.attn.hook_rot_k"))
SOURCE = "arXiv:2503.17349"
LONG = {
    "alpha_v": ("attention to vision tokens, alpha_V", "fraction"),
    "delta_g_v": ("mean change of a vision key's score, delta g_V", "1/step"),
    "delta_alpha_v": ("change of attention to vision tokens, delta alpha_V", "fraction"),
    "eq11_residual": ("delta alpha_V minus its first-order form", "fraction"),
}


def rope_sensitivity(run: Run, *, delta: float = 1.0, keys: str = "past") -> xr.Dataset:
    """Turn every vision key by ``delta`` RoPE steps and compare one query's attention.

    With scores l0[k] = q.k * scaling and A0 = softmax(l0), every vision key's position p becomes
    p + delta, ``delta`` nearer to the query, which gives l1 and A1. Over the vision keys V:

        alpha_V       = sum A0[v]
        delta_g_V     = sum (A0[v] / alpha_V) (l1[v] - l0[v]) / delta
        delta_alpha_V = sum A1[v] - alpha_V
        eq11_residual = delta_alpha_V - alpha_V (1 - alpha_V) delta delta_g_V

    The last is what the paper's first-order Eq. 11 leaves out; it vanishes as delta does. This
    is the direct path: one layer's scores change, everything before them is frozen.

    Args:
        run: a run that saved ``NEEDS``. The query is its last position. The paper appends one
            end token for it: ``inputs.appended(...)``.
        delta: steps; any number but 0.
        keys: ``"past"`` for keys strictly before the query, ``"all"`` for the query's own too.

    Returns:
        Variables ``alpha_v``, ``delta_g_v``, ``delta_alpha_v``, ``eq11_residual``, each (sample,
        layer, head). delta_g_V is NaN where a head gives vision no weight at all.

    Raises:
        InputError: delta is 0, or the model has no RoPE.
        EmptySelectionError: a sample has no vision tokens.
        UnknownPointError: the run did not save what this needs.

    Source:
        Qi et al. 2025, "Beyond Semantics", arXiv:2503.17349, and its released code, which
        divides by max(delta, 1e-12) and so is right for positive delta only.
    """
    if delta == 0:
        raise InputError("delta=0 turns nothing: choose any other number of RoPE steps")
    if keys not in ("past", "all"):
        raise InputError(f"keys={keys!r}; there is: past, all")
    if run.rope is None:
        raise InputError("this model has no rotary embedding to turn")
    query = run.saved.stack(NEEDS[0])[:, :, -1].float()  # layer batch head d_head
    stacked = run.saved.stack(NEEDS[1]).float()  # layer batch pos kv_head d_head
    scaling = run.scaling if run.scaling is not None else query.shape[-1] ** -0.5
    parts: dict[str, list[Tensor]] = {name: [] for name in LONG}
    for index, layout in enumerate(run.inputs.layouts):
        seen = torch.from_numpy(~layout.mask("pad")).to(query.device)
        last = int(seen.nonzero()[-1])
        if keys == "past":
            seen[last] = False
        vision = torch.from_numpy(layout.mask("vision")).to(query.device)[seen]
        if not vision.any():
            raise EmptySelectionError(f"sample {index} has no vision tokens: {layout}")
        measured = sensitivity(
            query[:, index], stacked[:, index, seen], vision, run.rope, delta, scaling
        )
        for name, value in zip(LONG, measured, strict=True):
            parts[name].append(value)
    dims = ("sample", "layer", "head")
    arrays = {
        name: array(torch.stack(values), dims, run.inputs, name, *LONG[name], SOURCE)
        for name, values in parts.items()
    }
    return xr.Dataset(arrays, attrs={"delta": delta, "keys": keys, "source": SOURCE})


def sensitivity(
    query: Float[Tensor, "layer head d_head"],
    keys: Float[Tensor, "layer key kv_head d_head"],
    vision: Tensor,
    rope: Rope,
    delta: float,
    scaling: float,
) -> tuple[Float[Tensor, "layer head"], ...]:
    """alpha_V, delta_g_V, delta_alpha_V and the residual of Eq. 11 for one sample."""
    groups = query.shape[1] // keys.shape[2]
    every = repeat(keys, "layer key kv d -> layer (kv group) key d", group=groups)
    turned = torch.where(vision[:, None], rope.turn(every, delta), every)
    before, after = (
        einsum(query, k, "layer head d, layer head key d -> layer head key") * scaling
        for k in (every, turned)
    )
    weights, moved = before.softmax(-1), after.softmax(-1)
    alpha = weights[..., vision].sum(-1)
    change = (after - before)[..., vision]
    gain = (weights[..., vision] * change).sum(-1) / alpha / delta
    shift = moved[..., vision].sum(-1) - alpha
    return alpha, gain, shift, shift - alpha * (1 - alpha) * delta * gain
