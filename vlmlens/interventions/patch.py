"""Activations of one run in another."""

from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor

from vlmlens.cache import ActivationCache
from vlmlens.errors import InputError
from vlmlens.interventions.base import Intervention, Site
from vlmlens.interventions.stored import refuse_misaligned, refuse_other_model
from vlmlens.tensors import suited


@dataclass(frozen=True)
class PatchFrom(Intervention):
    """Put the activations that another run saved into this one.

    Both runs are of whole inputs, pictures and all, and must align: every position plays the
    same role and looks at the same cell. While decoding the prompt's own keys and values stay
    patched, where they appear again; what comes after the prompt is this run's own.

    Source: Meng et al. 2022, "Locating and Editing Factual Associations", arXiv:2202.05262.

    Attributes:
        source: what the other run saved; it must hold every point that is patched.

    Examples:
        >>> from vlmlens.interventions import PatchFrom
        >>> one, two = model.inputs(samples[:1]), model.inputs(samples[2:3])  # equally long prompts
        >>> other = model.run(two, save="blocks.3.hook_resid_post")
        >>> patch = PatchFrom("blocks.3.hook_resid_post", source=other.saved)
        >>> torch.allclose(model.run(one, patch).logits, other.logits, atol=1e-4)
        True
    """

    source: ActivationCache | None = None

    def edit(self, x: Shaped[Tensor, "*axes"], site: Site) -> Shaped[Tensor, "*axes"]:
        """The other run's activation."""
        if self.source is None:
            raise InputError("PatchFrom needs source=run.saved of the run to patch from")
        refuse_other_model(self.source, site)
        other = self.source[site.name]
        if site.step == 0:
            refuse_misaligned(self.source, site.layouts, site.name, x)
            return suited(other, x)
        if site.axes[1] == "pos" and x.shape[1] == len(site.layouts[0]):  # the whole cache
            return torch.cat([suited(other, x), x[:, other.shape[1] :]], dim=1)
        return x  # the prompt is past
