"""What rotating keys does to one attention row: the arithmetic of ``rope_sensitivity``."""

from dataclasses import dataclass, replace

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from vlmlens.errors import InputError, UnsupportedModelError
from vlmlens.model import Rope
from vlmlens.tensors import suited

#: How far a saved row may lie from softmax(q.k): half precision rounds its weights.
TOLERANCE = 0.05


@dataclass(frozen=True, eq=False)
class Row:
    """One layer's query row of one sample: what ``rotated`` compares before and after.

    Attributes:
        query: rotated queries, one a head.
        keys: rotated keys of all visible and hidden positions.
        weights: attention before the rotation; 0 where a key is hidden.
        scaling: what q.k is multiplied with.
        softcap: scores are ``cap tanh(. / cap)`` of that, where the model caps them.
    """

    query: Float[Tensor, "head d_head"]
    keys: Float[Tensor, "key kv_head d_head"]
    weights: Float[Tensor, "head key"]
    scaling: float

    softcap: float | None = None

    def scores(self, raw: Float[Tensor, "*lead head key"]) -> Float[Tensor, "*lead head key"]:
        """Soft-capped scores of what q.k * scaling is."""
        return raw if self.softcap is None else torch.tanh(raw / self.softcap) * self.softcap

    def products(self) -> Float[Tensor, "head key"]:
        """q.k * scaling."""
        found = einsum(self._queries(), self.keys, "kv group d, key kv d -> kv group key")
        return rearrange(found, "kv group key -> (kv group) key") * self.scaling

    def planes(self, rope: Rope) -> Float[Tensor, "side head key plane"]:
        """What each plane of a key gives to its score, and would give a quarter of a turn on.

        With a key's two channels (a, b) in a plane and the query's (x, y), a rotation by t makes
        of the plane's part x a + y b

            cos t (x a + y b) + sin t (y a - x b)

        so that any rotation is a sum over planes of these two.
        """
        rotary = 2 * rope.step.shape[-1]
        first = "two plane" if rope.pairing == "half" else "plane two"
        q = rearrange(self._queries()[..., :rotary], f"kv g ({first}) -> two kv g 1 plane", two=2)
        k = rearrange(self.keys[..., :rotary], f"key kv ({first}) -> two kv 1 key plane", two=2)
        found = torch.stack([q[0] * k[0] + q[1] * k[1], q[1] * k[0] - q[0] * k[1]])
        return rearrange(found, "side kv g key plane -> side (kv g) key plane") * self.scaling

    def _queries(self) -> Float[Tensor, "kv_head group d_head"]:
        return rearrange(self.query, "(kv group) d -> kv group d", kv=self.keys.shape[1])


def compared(
    row: Row,
    vision: Bool[Tensor, " key"],
    ropes: list[Rope],
    deltas: list[float],
    axis: str | None,
) -> dict[str, Float[Tensor, "delta band head"]]:
    """Every number of ``rope_sensitivity`` for one layer of one sample.

    All rotations are one product: planes by the sines and cosines of every delta and band.
    """
    raw = row.products()
    before = row.scores(raw)
    hidden = row.weights == 0  # by a mask, or a weight so small that it rounded to nothing
    weights = before.masked_fill(hidden, -torch.inf).softmax(-1).nan_to_num()
    _check(weights, row.weights)
    steps = torch.cat([rope.steps(axis) for rope in ropes]).to(raw)  # band plane
    by = suited(torch.tensor(deltas), raw)
    angles = by[:, None, None] * steps  # delta band plane
    both = row.planes(ropes[0])
    rotation = torch.stack([angles.cos() - 1, angles.sin()])
    shift = einsum(
        both, rotation, "side head key plane, side delta band plane -> delta band head key"
    )
    speed = einsum(both[1], steps, "head key plane, band plane -> band head key")
    if row.softcap is not None:
        speed = speed * (1 - (before / row.softcap) ** 2)
    alpha = (weights * vision).sum(-1)
    found = rotated(weights, row.scores(raw + shift) - before, vision, by[:, None, None])
    whole = (weights * speed * vision).sum(-1)
    found |= {"slope_g_v": whole / alpha, "slope_alpha_v": (1 - alpha) * whole, "alpha_v": alpha}
    return {name: value.expand(len(deltas), len(ropes), -1) for name, value in found.items()}


def rotated(
    weights: Float[Tensor, "head key"],
    change: Float[Tensor, "*rotation head key"],
    vision: Bool[Tensor, " key"],
    delta: Float[Tensor, "*#rotation 1"],
) -> dict[str, Float[Tensor, "*rotation head"]]:
    """What changes of scores do to attention, made to the vision keys, or to all others.

    Weights after a change e of the scores are A0 exp(e) / sum A0 exp(e), so no score is needed.
    """
    alpha = (weights * vision).sum(-1)
    gains, shifts = [], []
    for chosen in (vision, ~vision):
        e = change * chosen
        # The largest change taken out, as in any softmax: it cancels.
        after = weights * (e - e.amax(-1, keepdim=True)).exp()
        shifts.append((after * vision).sum(-1) / after.sum(-1) - alpha)
        part = weights * chosen
        gains.append((part * change).sum(-1) / part.sum(-1) / delta)
    # alpha S, and not S: where the image gets nothing, S is 0 / 0 and nothing can change.
    seen = weights * vision
    grown = (seen * change.exp()).sum(-1)
    exact = (1 - alpha) * (grown - alpha) / (grown + 1 - alpha)
    first = (1 - alpha) * (seen * change).sum(-1)
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


def _check(ours: Float[Tensor, "*lead key"], saved: Float[Tensor, "*lead key"]) -> None:
    """The saved row, without the query's own key where that is left out, is our softmax."""
    total = saved.sum(-1, keepdim=True)
    theirs = torch.where(total > 0, saved / total, 0.0)
    if (apart := float((ours - theirs).abs().max())) > TOLERANCE:
        raise UnsupportedModelError(
            f"attention is not softmax(q.k * scaling) here: weights differ by up to {apart:.2g} "
            "(an edit of scores?); rotating keys would measure something else"
        )
