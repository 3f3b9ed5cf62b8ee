"""Removing what a place holds."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vlmlens.interventions.base import Intervention, Site


@dataclass(frozen=True)
class ZeroAblate(Intervention):
    """Put zeros in place of an activation."""

    def edit(self, x: Tensor, site: Site) -> Tensor:
        """Zeros."""
        return torch.zeros_like(x)
