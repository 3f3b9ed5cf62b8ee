"""Fewer vision tokens, or the same number, blurred."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from vlmlens.checks import one_of
from vlmlens.errors import InputError
from vlmlens.interventions.base import Intervention, Site
from vlmlens.interventions.prepare import dropped, only_inputs
from vlmlens.interventions.vision import images, shown, tiles
from vlmlens.layout import TokenLayout
from vlmlens.tensors import onto

if TYPE_CHECKING:
    from vlmlens.inputs import Inputs


@dataclass(frozen=True)
class CompressVision(Intervention):
    """Average-pool an image's grid of tokens to a coarser one.

    Row i of R goes to row floor(i rows / R) of the coarse grid, columns likewise, and every token
    becomes the mean of those that share its cell. One token of a cell, the first, stays in the
    sequence and carries the mean; the rest drop out: nobody can attend to them, and they play
    the role ``pad``. So the model sees rows x columns tokens an image, as if the sequence were so
    much shorter.

    Edits of ``hook_embed`` that are listed before it see, and mean, the tokens that it pools; those
    listed after it the tokens that are left. What a deep tower adds is pooled as well.

    ``repeat=True`` is the control: all tokens stay, each with its cell's mean. The detail is lost
    as before, but the number of tokens, and with it their share of attention, is not.

    Source: Qi et al. 2025, "Beyond Semantics", arXiv:2503.17349, figure 2; the control is ours.

    Attributes:
        rows: of the coarse grid.
        columns: of the coarse grid.
        repeat: keep every token, blurred.
        position_ids: of what stays: ``"kept"``, or ``"reindexed"`` as if the rest had never been.

    Examples:
        >>> from vlmlens.interventions import CompressVision
        >>> run = model.run(model.inputs(sample), CompressVision(rows=2, columns=2))
        >>> run.inputs.layouts[0].grid(), run.inputs.layouts[0]
        ((2, 2), TokenLayout(78 positions: 1 bos, 6 template, 7 user, 4 vision, 60 pad))
    """

    point: str = "hook_embed"
    rows: int = 1
    columns: int = 1
    repeat: bool = False
    position_ids: str = "kept"

    def __post_init__(self):
        super().__post_init__()
        refuse_ids(self.position_ids)
        if self.point != "hook_embed":
            raise InputError("CompressVision pools where image and text meet: point='hook_embed'")
        if self.where.positions is not None:
            raise InputError("CompressVision pools whole images: leave where.positions out")

    @property
    def also(self) -> tuple[str, ...]:
        """What a deep tower adds to the stream later is pooled with the tokens."""
        return ("projector.deepstack.*.hook_out",)

    def prepare(self, inputs: "Inputs") -> "Inputs":
        """The inputs with one token a cell left, and the coarse grid in the layout."""
        if self.repeat:
            return inputs
        only_inputs(self)
        if self.where.samples is not None:
            raise InputError("a batch is compressed as a whole: leave where.samples out")
        if inputs.unpooled:
            raise InputError("these images are pooled already: one CompressVision is enough")
        masks, layouts = [], []
        for sample, layout in enumerate(inputs.layouts):
            gone = np.zeros(len(layout), dtype=bool)
            row, column, box = layout.row.copy(), layout.column.copy(), layout.box.copy()
            for image, _ in shown(sample, layout):
                every = np.flatnonzero((layout.image == image) & (layout.row >= 0))
                if len(tiles(layout, every)) > 1:
                    raise InputError("an image in several tiles has no one grid: repeat=True does")
                cell = self._cells(layout, image, every)
                row[every], column[every] = np.divmod(cell, self.columns)
                here = ~layout.mask("pad")[every]  # others were dropped before
                for number in np.unique(cell[here]):
                    own = every[here & (cell == number)]
                    gone[own[1:]] = True
                    box[own[0], :2] = layout.box[own, :2].min(0)
                    box[own[0], 2:] = layout.box[own, 2:].max(0)
            masks.append(gone)
            layouts.append(replace(layout, row=row, column=column, box=box))
        coarse = replace(inputs, layouts=tuple(layouts), unpooled=inputs.layouts)
        return dropped(coarse, masks, self.position_ids == "reindexed")

    def edit(self, x: Shaped[Tensor, "*axes"], site: Site) -> Shaped[Tensor, "*axes"]:
        """The activation with every vision token its cell's mean."""
        out = x.clone()
        for own in images(x, site):
            here = own.positions
            for tile in tiles(own.layout, here) if self.repeat else [np.arange(len(here))]:
                cell = self._cells(own.layout, own.image, here[tile])
                for number in np.unique(cell):
                    places = own.places[onto(torch.from_numpy(tile[cell == number]), x.device)]
                    out[own.at(places)] = x[own.at(places)].float().mean(0).to(x.dtype)
        return out

    def _cells(
        self, layout: TokenLayout, image: int, here: Int[np.ndarray, " patch"]
    ) -> Int[np.ndarray, " patch"]:
        """The number of each token's cell on the coarse grid; all are on one tile."""
        row, column = layout.row[here], layout.column[here]
        high, wide = layout.grid(image, int(layout.tile[here[0]]))
        if not (1 <= self.rows <= high and 1 <= self.columns <= wide):
            raise InputError(
                f"a grid of {high} x {wide} cannot be pooled to {self.rows} x {self.columns}"
            )
        return row * self.rows // high * self.columns + column * self.columns // wide


def refuse_ids(position_ids: str) -> None:
    """Refuse a word for position ids that is none.

    Raises:
        InputError: says which there are.
    """
    one_of(position_ids, "position_ids", ("kept", "reindexed"))
