"""Cutting attention between chosen positions."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vlmlens.interventions.base import Intervention, Site


@dataclass(frozen=True)
class KnockOut(Intervention):
    """Stop chosen queries from attending to chosen keys; their other keys share the weight.

    Source: Geva et al. 2023, "Dissecting Recall of Factual Associations", arXiv:2304.14767.
    """

    point: str = "blocks.*.attn.hook_attn_scores"

    def edit(self, x: Tensor, site: Site) -> Tensor:
        """Scores of minus infinity."""
        return torch.full_like(x, -torch.inf)
