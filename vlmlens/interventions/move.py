"""Other position ids."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from vlmlens.checks import number, one_of, plain
from vlmlens.errors import InputError
from vlmlens.interventions.base import Intervention
from vlmlens.interventions.prepare import chosen_rows, only_inputs
from vlmlens.layout import TokenLayout
from vlmlens.select import Where
from vlmlens.tensors import onto

if TYPE_CHECKING:
    from vlmlens.inputs import Inputs

AXES = ("time", "height", "width")
#: The largest number up to which float32 distinguishes whole numbers.
DISTINCT = 2**24
MAPS = ("own", "constant", "raster", "row", "column")


@dataclass(frozen=True)
class MovePositions(Intervention):
    """Give chosen tokens other position ids, in the inputs, for all layers at once.

    Of each image's chosen tokens (those of no image are one group more), with p their own ids and
    p0 the first of them, a token gets

        p0 + scale (m - p0) + shift

    where m is p itself (``to="own"``), p0 (``"constant"``), or, for vision tokens, p0 + row x
    columns + column (``"raster"``), p0 + row (``"row"``), p0 + column (``"column"``). Ids may be
    fractions; angles are what RoPE makes of them.

    Source: ``"constant"`` is BaPA, arXiv:2509.21984 v1.

    Attributes:
        to: ``"own"``, ``"constant"``, ``"raster"``, ``"row"`` or ``"column"``; or one number for
            each of all chosen tokens, in order, counted from the first one's id.
        shift: added to every id.
        scale: stretches distances from p0.
        axis: ``"time"``, ``"height"`` or ``"width"``, for models whose ids are threefold (mRoPE);
            None moves every axis there is.
        rest: what becomes of the ids after the last chosen token: ``"kept"``, or ``"follow"``, on
            from the largest new id.

    Examples:
        >>> from vlmlens.interventions import MovePositions
        >>> run = model.run(model.inputs(sample), MovePositions(to="constant", rest="follow"))
        >>> run.inputs.tensors["position_ids"][0, [3, 4, 67, 68]]  # the image's are 4 ... 67
        tensor([3, 4, 4, 5])
    """

    where: Where = Where(positions="vision")
    to: str | tuple[int | float, ...] = "own"
    shift: int | float = 0
    scale: int | float = 1
    axis: str | None = None
    rest: str = "kept"

    def __post_init__(self):
        super().__post_init__()
        to = plain(self.to)
        if isinstance(to, tuple | list):
            object.__setattr__(self, "to", tuple(number(each, "to") for each in to))
        else:
            one_of(to, "to", MAPS, ", or one number a token")
        if self.axis is not None:
            one_of(self.axis, "axis", AXES)
        one_of(self.rest, "rest", ("kept", "follow"))
        only_inputs(self)

    def prepare(self, inputs: "Inputs") -> "Inputs":
        """The inputs with these ids."""
        old = inputs.tensors["position_ids"]
        planes = _planes(old, self.axis)
        made = old.double().cpu().clone()
        whole = made[None] if made.ndim == 2 else made  # plane batch pos
        rows = chosen_rows(self, inputs.layouts)
        for sample, (layout, meant) in enumerate(zip(inputs.layouts, rows, strict=True)):
            if not meant.any():
                continue
            for plane in planes:
                ids = whole[plane, sample]
                ids.copy_(torch.from_numpy(self._moved(ids.numpy().copy(), layout, meant)))
            last = int(np.flatnonzero(meant)[-1])
            if self.rest == "follow" and last + 1 < len(layout):
                ids = (
                    whole[len(whole) - len(AXES) :, sample] if len(whole) > 1 else whole[:, sample]
                )
                top = ids[:, torch.from_numpy(meant)].max().floor() + 1
                ids[:, last + 1 :] += top - ids[:, last + 1 : last + 2]
        if float(made.abs().max()) > DISTINCT:
            raise InputError(
                f"{self} makes position ids up to {float(made.abs().max()):g}; beyond {DISTINCT} "
                "neighbours are one number in float32, in which RoPE's angles are computed"
            )
        made = made.to(old.dtype) if bool((made == made.round()).all()) else made.float()
        return replace(inputs, tensors={**inputs.tensors, "position_ids": onto(made, old.device)})

    def _moved(
        self, ids: Float[np.ndarray, " pos"], layout: TokenLayout, meant: Bool[np.ndarray, " pos"]
    ) -> Float[np.ndarray, " pos"]:
        here = np.flatnonzero(meant)
        new = ids.copy()
        for own in [here] if isinstance(self.to, tuple) else self._groups(layout, meant):
            first = ids[own[0]]
            new[own] = first + self.scale * (self._map(ids, layout, own) - first) + self.shift
        return new

    def _groups(
        self, layout: TokenLayout, meant: Bool[np.ndarray, " pos"]
    ) -> list[Int[np.ndarray, " _own"]]:
        """The chosen tokens image by image (a row's end is its image's too), and of no image."""
        if self.to in ("raster", "row", "column") and (layout.row[meant] < 0).any():
            raise InputError(
                f"to={self.to!r} is for tokens with a row and a column; others are chosen here: "
                "positions=Region() are those of every image"
            )
        images = [meant & (layout.image == image) for image in range(layout.images)]
        groups = [np.flatnonzero(own) for own in (*images, meant & (layout.image < 0))]
        return [own for own in groups if len(own)]

    def _map(
        self, ids: Float[np.ndarray, " pos"], layout: TokenLayout, own: Int[np.ndarray, " own"]
    ) -> Shaped[np.ndarray, " own"]:
        first, row, column = ids[own[0]], layout.row[own], layout.column[own]
        if isinstance(self.to, tuple):
            if len(self.to) != len(own):
                raise InputError(f"{len(self.to)} ids for {len(own)} chosen tokens: give one each")
            return first + np.array(self.to, dtype=float)
        if self.to == "own":
            return ids[own]
        width = 1 + int(layout.column[layout.image == layout.image[own[0]]].max())
        offsets = {
            "constant": np.zeros(len(own)),
            "raster": row * width + column,
            "row": row,
            "column": column,
        }
        return first + offsets[self.to]


def _planes(ids: Shaped[Tensor, "*plane batch pos"], axis: str | None) -> list[int]:
    """Which rows of the ids move, counted along plane (one for ids that are not threefold).

    Where a model takes text positions for its mask beside them, those come first and stay.
    """
    if ids.ndim == 2:
        if axis is not None:
            raise InputError(
                f"axis={axis!r}: this model's position ids are (batch, pos), not threefold"
            )
        return [0]
    first = len(ids) - len(AXES)
    return list(range(first, len(ids))) if axis is None else [first + AXES.index(axis)]
