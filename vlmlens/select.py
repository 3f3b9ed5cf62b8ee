"""Where: which layers, heads and positions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from vlmlens.errors import EmptySelectionError, UnknownRoleError
from vlmlens.layout import ROLES, TokenLayout

#: A role, ``"last"``, an index into the sample's own positions (padding does not count, negative
#: counts from its end), or several of these.
Positions = str | int | tuple[str | int, ...]
Indices = int | tuple[int, ...] | range


@dataclass(frozen=True)
class Where:
    """Which part of an activation is meant; None means all of an axis.

    Attributes:
        layers: blocks, counted from 0; negative counts from the last. Points outside the blocks
            (``hook_embed``) belong to no layer and are edited whatever this says.
        heads: heads (or key-value heads, at points that have those), counted from 0.
        positions: along ``pos``: roles (``"vision"``), ``"last"``, indices, or a tuple of these.
        queries: the same along ``query``, at scores and patterns.
        keys: the same along ``key``.
    """

    layers: Indices | None = None
    heads: Indices | None = None
    positions: Positions | None = None
    queries: Positions | None = None
    keys: Positions | None = None

    def has_layer(self, layer: int | None, layers: int) -> bool:
        """Whether a block is meant; what belongs to no block is always meant.

        Raises:
            EmptySelectionError: a layer that the model does not have.
        """
        if self.layers is None or layer is None:
            return True
        return layer in _indices(self.layers, layers, "layer")

    def mask(
        self, axes: Sequence[str], shape: Sequence[int], layouts: Sequence[TokenLayout]
    ) -> Bool[Tensor, "..."] | None:
        """The part that is meant, to be broadcast over the activation; None for all of it.

        Positions are matched to the LAST entries of an axis: while decoding, an activation holds
        the newest positions only.

        Raises:
            EmptySelectionError: an axis that the point lacks, a head that it lacks, a role that
                no position of some sample plays.
        """
        asked = {
            "head": self.heads,
            "pos": self.positions,
            "query": self.queries,
            "key": self.keys,
        }
        whole: Tensor | None = None
        for axis, wanted in asked.items():
            if wanted is None:
                continue
            name = "kv_head" if axis == "head" and "kv_head" in axes else axis
            if name not in axes:
                raise EmptySelectionError(
                    f"this selects along {axis!r}, but the point has the axes {' '.join(axes)}"
                )
            at = list(axes).index(name)
            view = [1] * len(shape)
            view[at] = shape[at]
            if axis == "head":
                part = torch.zeros(shape[at], dtype=torch.bool)
                part[_indices(wanted, shape[at], name)] = True  # type: ignore[arg-type]
            else:
                if "batch" not in axes:
                    raise EmptySelectionError(
                        "positions are those of the language model's sequence; inside the vision "
                        "tower there are no roles"
                    )
                rows = [chosen(layout, wanted)[-shape[at] :] for layout in layouts]  # type: ignore[arg-type]
                part = torch.from_numpy(np.stack(rows))
                view[0] = len(layouts)
            part = part.reshape(view)
            whole = part if whole is None else whole & part
        return whole


def chosen(layout: TokenLayout, wanted: Positions) -> Bool[np.ndarray, " pos"]:
    """Which positions of a layout are meant.

    Raises:
        EmptySelectionError: nothing in this sample is meant.
        UnknownRoleError: a word that is no role.
    """
    own = np.flatnonzero(~layout.mask("pad"))
    mask = np.zeros(len(layout), dtype=bool)
    for item in wanted if isinstance(wanted, tuple) else (wanted,):
        if item == "last":
            mask[own[-1]] = True
        elif isinstance(item, str):
            if item not in ROLES:
                raise UnknownRoleError(item, (*ROLES, "last"))
            mask[layout.positions(item)] = True
        else:
            mask[own[_indices(item, len(own), "position")]] = True
    if not mask.any():
        raise EmptySelectionError("no position is selected: the selection is empty")
    return mask


def _indices(wanted: Indices, size: int, what: str) -> list[int]:
    items = [wanted] if isinstance(wanted, int) else list(wanted)
    for item in items:
        if not -size <= item < size:
            raise EmptySelectionError(f"no {what} {item}: there are {size}, counted from 0")
    if not items:
        raise EmptySelectionError(f"no {what} is selected: the selection is empty")
    return [item % size for item in items]
