"""Save: what a run is to keep."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxtyping import Shaped
from torch import Tensor

from vlmlens.annotations import Checked, settle
from vlmlens.checks import function
from vlmlens.layout import TokenLayout
from vlmlens.positions import Positions
from vlmlens.positions.selection import SETTLED


@dataclass(frozen=True)
class Placed:
    """A reduction that asks what the positions are.

    It is told the layouts of the pass itself, after all that edits did to the inputs: tokens that
    ``DropTokens`` took out play ``pad`` there, and a pooled image has its coarse grid. Layouts
    that are kept from before the run know nothing of it.

    Attributes:
        by: a function of the activation and of every sample's layout, to what is kept.

    Examples:
        >>> from vlmlens.cache import Placed
        >>> def of_images(x, layouts):
        ...     means = [x[i, own.mask("vision")].mean(0) for i, own in enumerate(layouts)]
        ...     return torch.stack(means)
        >>> save = vl.Save("blocks.*.hook_resid_post", reduce=Placed(of_images))
        >>> model.run(model.inputs(samples), save=save).saved["resid_post", 0].shape
        torch.Size([4, 128])
    """

    by: Callable[[Shaped[Tensor, "..."], Sequence[TokenLayout]], Shaped[Tensor, "..."]]

    def __post_init__(self):
        function(self.by, "by", "a function of a tensor and of layouts", "tensor", "layouts")


@dataclass(frozen=True)
class Save(Checked):
    """What a run is to keep of some points.

    Attributes:
        points: a point's name, or a pattern such as ``"blocks.*.attn.hook_pattern"``.
        rows: keep these positions only (queries, where the point has those), the same number in
            every sample: a role, an index, a selection such as ``Role("vision") & Row(0)``.
            Patterns are then computed for these rows alone.
        reduce: what to keep in place of the activation, computed while the pass runs: a function
            of it, or ``cache.Placed`` by one that asks what the positions are.

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
    reduce: Callable[[Shaped[Tensor, "..."]], Shaped[Tensor, "..."]] | Placed | None = None

    def __post_init__(self):
        settle(self, SETTLED)
        if self.reduce is not None and not isinstance(self.reduce, Placed):
            function(self.reduce, "reduce", "a function of a tensor", "tensor")
