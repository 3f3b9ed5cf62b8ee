"""Activations of one run in another."""

from dataclasses import dataclass

from torch import Tensor

from vlmlens.cache import ActivationCache
from vlmlens.errors import InputError
from vlmlens.interventions.base import Intervention, Site


@dataclass(frozen=True)
class PatchFrom(Intervention):
    """Put the activations that another run saved into this one, while the prompt goes by.

    Source: Meng et al. 2022, "Locating and Editing Factual Associations", arXiv:2202.05262.

    Attributes:
        source: what the other run saved; it must hold every point that is patched.
    """

    source: ActivationCache | None = None

    def edit(self, x: Tensor, site: Site) -> Tensor:
        """The other run's activation."""
        if self.source is None:
            raise InputError("PatchFrom needs source=run.saved of the run to patch from")
        if site.step > 0:  # the prompt has had its turn
            return x
        other = self.source[site.name]
        if other.shape != x.shape:
            raise InputError(
                f"{site.name} is {tuple(x.shape)} here and {tuple(other.shape)} in the run to "
                "patch from: both need the same prompt length and image grid"
            )
        return other.to(x)
