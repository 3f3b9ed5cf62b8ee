"""The causal cone of an edit: the first block and the first position that it can change.

In a causal language model an edit at block l and position p changes nothing below l, and at l and
above nothing before p. What it can change is all that has to be computed again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from vlmlens.errors import InputError
from vlmlens.interventions import Intervention
from vlmlens.layout import TokenLayout
from vlmlens.model.arithmetic.attending import MASKED
from vlmlens.model.reuse.prefill import Prefill
from vlmlens.model.wiring.wired import Wired
from vlmlens.positions import Positions, chosen


@dataclass(frozen=True)
class Cone:
    """Where the edits of one cell first bite.

    Attributes:
        layer: the first block; the number of blocks, for what comes after the last.
        position: the first position.
    """

    layer: int
    position: int


def cone(
    vlm: Wired, prefill: Prefill, edits: Sequence[Intervention], points: Sequence[str]
) -> Cone | str:
    """The cone of one cell's edits, or why there is none.

    Args:
        vlm: the open model.
        prefill: the clean pass.
        edits: the cell's interventions.
        points: the points that they edit or read, all together.

    Returns:
        The cone; or the reason for which the whole pass has to be run.
    """
    layout = prefill.inputs.layouts[0]
    layer, position = vlm.layers, len(layout)
    for edit in edits:
        if edit.prepare(prefill.inputs) is not prefill.inputs:
            return f"{type(edit).__name__} changes the inputs, before the pass begins"
    for name in points:
        if name.startswith(("vision.", "projector.")):
            return f"{name} is passed before the language model begins"
        if name == "hook_logits":
            return "hook_logits holds the positions that are asked for, not those of the cone"
        layer = min(layer, layer_of(vlm, name))
    for edit in edits:
        position = min(position, first_position(edit, layout))
    if prefill.shares_keys:
        layer = 0
    return Cone(layer, 0 if prefill.keys is None else settled(position, prefill.masks))


def left(layout: TokenLayout, positions: Positions, count: int) -> Int[Tensor, " row"]:
    """Positions of a pass whose inputs were edited, as many as of the clean one.

    Args:
        layout: of the edited pass, in which what an edit took out is padding.
        positions: which are meant.
        count: how many they are in the clean pass.

    Raises:
        InputError: an edit took some of them out.
        EmptySelectionError: it took out all of them.
    """
    found = np.flatnonzero(chosen(layout, positions))
    if len(found) != count:
        raise InputError(
            f"positions={positions!r} are {count} of the prompt's and {len(found)} after a cell's "
            "edits took tokens out: ask for some that stay, such as 'last', or run the cell alone"
        )
    return torch.from_numpy(found)


def layer_of(vlm: Wired, name: str) -> int:
    """The block that a point belongs to; the number of blocks, after the last."""
    at = vlm.hook_dict[name].point.layer
    if at is not None:
        return at
    return vlm.layers if name == "ln_final.hook_normalized" else 0


def first_position(edit: Intervention, layout: TokenLayout) -> int:
    """The first position that an edit is confined to: of queries, at scores and patterns."""
    if edit.reach is None:
        return 0
    found = chosen(layout, edit.reach).nonzero()[0]
    return int(found[0]) if len(found) else 0  # the edit itself refuses an empty selection


def settled(position: int, masks: Sequence[Shaped[Tensor, "1 1 _query _key"]]) -> int:
    """The last position at or before this one that nobody before it looks beyond.

    Images that see themselves both ways, and prompts that do, are within the cone as a whole.
    """
    for mask in masks:
        farthest = np.maximum.accumulate(last_seen(mask))
        while position > 0 and farthest[position - 1] >= position:
            position -= 1
    return position


def last_seen(mask: Shaped[Tensor, "1 1 query key"]) -> Int[np.ndarray, " query"]:
    """The last key that each query of a mask (1 1 query key) may see; -1 where it sees none."""
    allowed: Any = (mask if mask.dtype.is_floating_point is False else mask > MASKED)[0, 0]
    allowed = allowed.cpu().numpy()
    last = allowed.shape[1] - 1 - allowed[:, ::-1].argmax(1)
    return np.where(allowed.any(1), last, -1)


def as_whole(x: Shaped[Tensor, "..."], axes: Sequence[str], size: int) -> Shaped[Tensor, "..."]:
    """The activation with what lies before the cone as NaN: who reads that, is found out."""
    for axis in ("pos", "query"):
        if axis in axes and (missing := size - x.shape[axes.index(axis)]):
            shape = list(x.shape)
            shape[axes.index(axis)] = missing
            return torch.cat([x.new_full(shape, torch.nan), x], dim=axes.index(axis))
    return x


def newest(x: Shaped[Tensor, "..."], shape: Sequence[int]) -> Shaped[Tensor, "..."]:
    """The last positions of an activation, as many as this shape has."""
    return x[tuple(slice(have - want, None) for have, want in zip(x.shape, shape, strict=True))]
