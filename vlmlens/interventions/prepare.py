"""What edits of the inputs share: whose positions they mean, and positions that drop out."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool

from vlmlens.errors import InputError
from vlmlens.interventions.base import Intervention
from vlmlens.layout import TokenLayout
from vlmlens.positions import chosen, indices
from vlmlens.tensors import onto

if TYPE_CHECKING:
    from vlmlens.inputs import Inputs


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
        reindexed: close the gaps in the position ids. Where ids are threefold (mRoPE), numbers
            that no remaining token has on any axis are left out, and the rest move up.

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
            stays = onto(torch.from_numpy(~gone & ~layout.mask("pad")), ids.device)
            used = ids[:, sample, stays].unique()  # sorted
            ids[:, sample] = used[0] + torch.searchsorted(used, ids[:, sample].contiguous())
        elif reindexed:
            before = torch.from_numpy(np.cumsum(gone) - gone).to(ids)
            ids[..., sample, :] -= before
        roles = ["pad" if g else r for g, r in zip(gone, layout.roles, strict=True)]
        layouts.append(replace(layout, roles=tuple(roles)))
    tensors |= {"attention_mask": attention, "position_ids": ids}
    return replace(inputs, tensors=tensors, layouts=tuple(layouts))
