"""Edits after which other tokens are there than before, for what is measured of edited runs."""

from dataclasses import dataclass

import vlmlens as vl
from vlmlens.interventions import CompressVision, DropTokens
from vlmlens.positions import Cell, Region, Role, Row


@dataclass(frozen=True)
class Pooling(CompressVision):
    """Of inputs that were pooled already: the activations alone."""

    def prepare(self, inputs):
        return inputs


def dropping(positions, **more):
    return DropTokens(where=vl.Where(positions=positions, **more))


EDITS = {
    "a row": dropping(Row(0)),
    "the second picture": dropping(Region(image=1)),
    "all but one": dropping(Role("vision") & ~Cell(1, 1, image=0)),
    "of one sample": dropping(Row(0), samples=1),
    "pooled": CompressVision(rows=2, columns=2),
    "pooled to one": CompressVision(),
}
