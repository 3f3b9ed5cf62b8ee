"""Tokens taken out of the sequence."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vlmlens.errors import InputError
from vlmlens.interventions.base import Intervention
from vlmlens.interventions.compress import refuse_ids
from vlmlens.interventions.prepare import chosen_rows, dropped, only_inputs

if TYPE_CHECKING:
    from vlmlens.inputs import Inputs


@dataclass(frozen=True)
class DropTokens(Intervention):
    """Take the chosen tokens out of the sequence, for every layer and step.

    They are hidden from everyone, as padding is, and play the role ``pad`` from then on; what
    the others compute is what they would compute in a sequence without them. But for one thing:
    in layers that see a window of the last tokens, they still take their room in it.

    What stays keeps its place: images, tiles, rows, columns and frames are counted as they were
    shown. After the last row is dropped, ``Row(-1)`` is still that row, which holds nothing now,
    and an edit of it raises.

    Source: Sun et al. 2026, "IVC-Prune", arXiv:2602.03060, keeps position ids.

    Attributes:
        position_ids: of what stays: ``"kept"``, or ``"reindexed"`` without gaps.

    Examples:
        >>> from vlmlens.interventions import DropTokens
        >>> from vlmlens.positions import Row
        >>> run = model.run(model.inputs(sample), DropTokens(where=vl.Where(positions=Row((0, 7)))))
        >>> run.inputs.layouts[0]
        TokenLayout(78 positions: 1 bos, 6 template, 7 user, 48 vision, 16 pad)
    """

    position_ids: str = "kept"

    def __post_init__(self):
        super().__post_init__()
        refuse_ids(self.position_ids)
        only_inputs(self)
        if self.where.positions is None:
            raise InputError("DropTokens needs where=Where(positions=...): which tokens go")

    def prepare(self, inputs: "Inputs") -> "Inputs":
        """The inputs without these tokens."""
        masks = chosen_rows(self, inputs.layouts)
        layouts = []
        for layout, gone in zip(inputs.layouts, masks, strict=True):
            kinds = ("" if g else kind for g, kind in zip(gone, layout.kind, strict=True))
            layouts.append(replace(layout, kind=tuple(kinds)))
        return dropped(
            replace(inputs, layouts=tuple(layouts)), masks, self.position_ids == "reindexed"
        )
