"""What edits of the inputs share: whose positions they mean, and positions that drop out."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Int, Num

from vlmlens.errors import InputError
from vlmlens.interventions.base import Intervention
from vlmlens.layout import TokenLayout
from vlmlens.positions import chosen, indices
from vlmlens.tensors import onto

if TYPE_CHECKING:
    from vlmlens.inputs import Inputs

#: Of threefold ids: time, row and column.
AXES = 3


def only_inputs(edit: Intervention) -> None:
    """Refuse a ``where`` that a change of the inputs cannot keep to.

    Raises:
        InputError: layers, heads, queries, keys or steps are chosen.
    """
    for name in ("layers", "heads", "queries", "keys", "steps"):
        if getattr(edit.where, name) is not None:
            raise InputError(
                f"{type(edit).__name__} changes the inputs, for every layer and step: choose "
                f"positions and samples, not {name}"
            )


def chosen_rows(
    edit: Intervention, layouts: tuple[TokenLayout, ...]
) -> list[Bool[np.ndarray, " pos"]]:
    """Each sample's positions that an edit of the inputs is for; none of samples left out.

    Raises:
        EmptySelectionError: a selection that means nothing in a sample.
    """
    count, where = len(layouts), edit.where
    kept = range(count) if where.samples is None else indices(where.samples, count, "sample")
    rows = []
    for sample, layout in enumerate(layouts):
        if sample not in kept:
            rows.append(np.zeros(len(layout), dtype=bool))
        elif where.positions is None:
            rows.append(~layout.mask("pad"))
        else:
            rows.append(chosen(layout, where.positions))
    return rows


def dropped(inputs: "Inputs", masks: list[Bool[np.ndarray, " pos"]], reindexed: bool) -> "Inputs":
    """The inputs with positions hidden from everyone, as padding is.

    They stay in the tensors, so that lengths and image features still match, but no token can
    attend to them: what the others compute is what they would compute without them.

    Args:
        inputs: the inputs.
        masks: each sample's positions to drop.
        reindexed: close the gaps in the position ids, as the model numbers what is left. Where
            ids are threefold (mRoPE), a picture's rows and columns close up each for itself, and
            what follows goes on from the largest number of what is left of it.

    Raises:
        InputError: a sample's last position would go, which what follows is read from.
    """
    tensors = dict(inputs.tensors)
    attention, ids = tensors["attention_mask"].clone(), tensors["position_ids"].clone()
    layouts = []
    for sample, (layout, gone) in enumerate(zip(inputs.layouts, masks, strict=True)):
        last = int(np.flatnonzero(~layout.mask("pad"))[-1])
        if gone[last]:
            raise InputError(f"sample {sample}: the last token cannot be dropped")
        attention[sample, torch.from_numpy(np.flatnonzero(gone))] = 0
        if reindexed and ids.ndim > 2:
            three = ids[-AXES:, sample]
            closed = _closed_up(three.cpu().numpy(), layout, gone)
            three[:] = onto(torch.from_numpy(closed), ids.device)
            if len(ids) > AXES:  # beside them, positions in the text alone
                before = torch.from_numpy(np.cumsum(gone) - gone).to(ids)
                ids[:-AXES, sample] -= before
        elif reindexed:
            before = torch.from_numpy(np.cumsum(gone) - gone).to(ids)
            ids[..., sample, :] -= before
        roles = ["pad" if g else r for g, r in zip(gone, layout.roles, strict=True)]
        layouts.append(replace(layout, roles=tuple(roles)))
    tensors |= {"attention_mask": attention, "position_ids": ids}
    return replace(inputs, tensors=tensors, layouts=tuple(layouts))


def _closed_up(
    ids: Num[np.ndarray, "axis pos"], layout: TokenLayout, gone: Bool[np.ndarray, " pos"]
) -> Num[np.ndarray, "axis pos"]:
    """Threefold position ids without what is gone, stretch by stretch: text, or one image.

    On each axis of a stretch the numbers of what is left move up to the first, each as far as the
    numbers that nobody has any more took room. The next stretch begins as far as it did from the
    largest number of this one: of rows and columns alone where a video's time runs ahead of it.
    """
    there, made = ~layout.mask("pad"), ids.copy()
    # The stretch before, what is left of the last of which anything is, and where that ends.
    before: list[int] = []
    last: list[int] = []
    none = ids[:, there].min() - 1
    for own in _stretches(layout, there):
        start = lowest = ids[:, own].min()
        if before:
            axes = slice(None) if ids[:, before].max() < lowest else slice(1, None)
            start += (made[axes, last].max() if last else none) - ids[axes, before].max()
        before, left = own.tolist(), own[~gone[own]]
        made[:, own] = start  # nobody sees what is gone: it must not count as the largest
        for axis, numbers in enumerate(ids):
            used = np.unique(numbers[own])
            steps = np.append(np.diff(used), 0)
            steps[~np.isin(used, numbers[left])] = 0
            moved = start + (used[0] - lowest) + np.cumsum(steps) - steps
            made[axis, left] = moved[np.searchsorted(used, numbers[left])]
        last = left.tolist() or last
    return made


def _stretches(
    layout: TokenLayout, there: Bool[np.ndarray, " pos"]
) -> list[Int[np.ndarray, " _own"]]:
    """Positions that are one text, or one image's, one after the other; without padding."""
    own = np.flatnonzero(there)
    edges = np.flatnonzero(np.diff(layout.image[own])) + 1
    return np.split(own, edges)
