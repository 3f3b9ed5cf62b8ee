"""Scaling what a place holds."""

from dataclasses import dataclass

from jaxtyping import Shaped
from torch import Tensor

from vlmlens.interventions.base import Intervention, Site


@dataclass(frozen=True)
class Scale(Intervention):
    """Multiply an activation, for example the vision tokens at ``hook_embed``.

    Attributes:
        by: the factor.

    Examples:
        >>> from vlmlens.interventions import Scale
        >>> inputs, point = model.inputs(sample), "blocks.0.hook_mlp_out"
        >>> clean = model.run(inputs, save=point).saved[point]
        >>> half = model.run(inputs, Scale(point, by=0.5), save=point).saved[point]
        >>> torch.equal(half, clean * 0.5)
        True
    """

    by: int | float = 1.0

    def edit(self, x: Shaped[Tensor, "*axes"], site: Site) -> Shaped[Tensor, "*axes"]:
        """The activation times ``by``."""
        return x * self.by
