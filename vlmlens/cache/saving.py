"""Save: what a run is to keep."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Shaped
from torch import Tensor

from vlmlens.annotations import Checked, settle
from vlmlens.checks import function
from vlmlens.positions import Positions
from vlmlens.positions.selection import SETTLED


@dataclass(frozen=True)
class Save(Checked):
    """What a run is to keep of some points.

    Attributes:
        points: a point's name, or a pattern such as ``"blocks.*.attn.hook_pattern"``.
        rows: keep these positions only (queries, where the point has those), the same number in
            every sample: a role, an index, a selection such as ``Role("vision") & Row(0)``.
            Patterns are then computed for these rows alone.
        reduce: what to keep in place of the activation, computed while the pass runs.

    Examples:
        >>> vl.Save("blocks.*.attn.hook_pattern", rows="last")
        Save(points='blocks.*.attn.hook_pattern', rows='last', reduce=None)
        >>> save = vl.Save("blocks.0.attn.hook_pattern", rows="last")
        >>> run = model.run(model.inputs(sample), save=save)
        >>> run.saved["pattern", 0].shape  # batch head query key
        torch.Size([1, 4, 1, 78])
    """

    points: str
    rows: Positions | None = None
    reduce: Callable[[Shaped[Tensor, "..."]], Shaped[Tensor, "..."]] | None = None

    def __post_init__(self):
        settle(self, SETTLED)
        if self.reduce is not None:
            function(self.reduce, "reduce", "a function of a tensor", "tensor")
