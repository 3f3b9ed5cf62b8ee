"""Cutting attention between chosen positions."""

from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor

from vlmlens.interventions.base import Intervention, Site


@dataclass(frozen=True)
class KnockOut(Intervention):
    """Stop chosen queries from attending to chosen keys; their other keys share the weight.

    Source: Geva et al. 2023, "Dissecting Recall of Factual Associations", arXiv:2304.14767.

    Examples:
        >>> from vlmlens.interventions import KnockOut
        >>> cut = KnockOut(where=vl.Where(layers=0, queries="last", keys="vision"))
        >>> run = model.run(model.inputs(sample), cut, save="blocks.0.attn.hook_pattern")
        >>> row = run.saved["pattern", 0][0, :, -1]  # head key
        >>> float(row[:, 4:68].sum()), torch.allclose(row.sum(-1), torch.ones(4))
        (0.0, True)
    """

    point: str = "blocks.*.attn.hook_attn_scores"

    def edit(self, x: Shaped[Tensor, "*axes"], site: Site) -> Shaped[Tensor, "*axes"]:
        """Scores of minus infinity."""
        return torch.full_like(x, -torch.inf)
