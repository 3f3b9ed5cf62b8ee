"""Scaling what a place holds."""

from dataclasses import dataclass

from torch import Tensor

from vlmlens.interventions.base import Intervention, Site


@dataclass(frozen=True)
class Scale(Intervention):
    """Multiply an activation, for example the vision tokens at ``hook_embed``.

    Attributes:
        by: the factor.
    """

    by: int | float = 1.0

    def edit(self, x: Tensor, site: Site) -> Tensor:
        """The activation times ``by``."""
        return x * self.by
