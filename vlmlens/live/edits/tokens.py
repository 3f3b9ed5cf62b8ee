"""An image's tokens rearranged: those of a region shuffled, mirrored, or moved elsewhere."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vlmlens.checks import one_of, whole
from vlmlens.errors import InputError
from vlmlens.interventions import Intervention, PermuteVision
from vlmlens.layout import TokenLayout
from vlmlens.live.edits.base import LiveEdit, Setting, compact, named

WAYS = ("shuffle", "mirror", "move")


@dataclass(frozen=True)
class Tokens(LiveEdit):
    """What tokens of an image hold, in other places.

    Attributes:
        keys: positions of the region.
        how: one of ``WAYS``; a region that moves changes places with what is there.
        by: rows down and columns to the right, for ``"move"``.
        seed: for ``"shuffle"``.
    """

    keys: tuple[int, ...]
    how: str = "shuffle"
    by: tuple[int, int] = (0, 0)
    seed: int = 0
    PLACES: ClassVar[tuple[str, ...]] = ("keys",)

    def __post_init__(self):
        super().__post_init__()
        one_of(self.how, "how", WAYS)
        whole(self.seed, "seed", least=0)

    def label(self, layout: TokenLayout) -> str:
        """Such as ``"shuffle the tokens of the picture (seed 0)"``."""
        seed = f" (seed {self.seed})" * (self.how == "shuffle")
        by = f" by {self.by[0]} rows and {self.by[1]} columns" * (self.how == "move")
        return f"{self.how} the tokens of {named(self.keys, layout)}{by}{seed}"

    def interventions(self, setting: Setting) -> tuple[Intervention, ...]:
        """A permutation of vision tokens."""
        keys = compact(self.keys, "keys")
        images = {int(setting.layout.image[at]) for at in keys}
        if images != {min(images, default=-1)} or min(images) < 0:
            raise InputError("tokens are rearranged within one image: choose patches of one alone")
        image = images.pop()
        if self.how == "move":
            among, order = exchange(setting.layout, image, tuple(keys), self.by)
            return (PermuteVision(permutation=order, among=compact(among, "keys")),)
        if self.how == "shuffle":
            made = PermuteVision(seed=self.seed, among=keys)
        else:
            made = PermuteVision(design="mirror", among=keys)
        order = made.order(setting.layout, image, setting.inputs.keys[0])
        if (order == np.arange(len(order))).all():
            again = f"seed={self.seed} draws it so: take another seed"
            raise InputError(
                f"{self.label(setting.layout)}: every token would stay at its place; "
                + (again if self.how == "shuffle" else "choose more columns")
            )
        return (made,)


def exchange(
    layout: TokenLayout, image: int, region: tuple[int, ...], by: tuple[int, int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A region that changes places with what stands where it goes.

    Returns:
        The positions that change, and the permutation among them: entry j is the place in this
        list whose content comes to place j.

    Raises:
        InputError: no step at all, or one that leads out of the picture.
    """
    here = layout.vision(image).tolist()
    cell = {at: (int(layout.tile[at]), int(layout.row[at]), int(layout.column[at])) for at in here}
    position = {where: at for at, where in cell.items()}
    if by == (0, 0):
        raise InputError("by=[0, 0]: say how many rows and columns the region moves")
    goes: dict[int, int] = {}
    for at in region:
        tile, row, column = cell[at]
        to = position.get((tile, row + by[0], column + by[1]))
        if to is None:
            raise InputError(
                f"by={list(by)} leads out of the picture: the region has to stay in it"
            )
        goes[at] = to
    comes = {to: at for at, to in goes.items()}
    left = sorted(set(region) - set(comes))
    comes |= dict(zip(left, sorted(set(comes) - set(region)), strict=True))
    among = [at for at in here if at in comes]
    return tuple(among), tuple(among.index(comes[at]) for at in among)
