"""What a turn of keys does to one attention row: the arithmetic of ``rope_sensitivity``."""

from dataclasses import dataclass, replace

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from vlmlens.errors import InputError, UnsupportedModelError
from vlmlens.model import Rope
from vlmlens.model.rotary import rotate, spread

#: How far a saved row may lie from softmax(q.k): half precision rounds its weights.
TOLERANCE = 0.05


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


def compared(
    row: Row,
    vision: Bool[Tensor, " key"],
    ropes: list[Rope],
    deltas: list[float],
    axis: str | None,
) -> dict[str, Float[Tensor, "delta band head"]]:
    """Every number of ``rope_sensitivity`` for one layer of one sample."""
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
