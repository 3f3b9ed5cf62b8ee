"""Activations of one run in another."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from vlmlens.cache import ActivationCache
from vlmlens.errors import InputError
from vlmlens.interventions.base import Intervention, Site
from vlmlens.interventions.stored import refuse_misaligned, refuse_other_model
from vlmlens.positions import Positions, chosen
from vlmlens.tensors import onto, suited


@dataclass(frozen=True)
class PatchFrom(Intervention):
    """Put the activations that another run saved into this one.

    Both runs are of whole inputs, pictures and all, and must align: every position plays the
    same role and looks at the same cell. While decoding the prompt's own keys and values stay
    patched, where they appear again; what comes after the prompt is this run's own.

    With ``source_point``, what is put in comes from another point of one shape: a later block's
    stream into an earlier one (back-patching). With ``source_positions``, it comes from other
    positions, of another prompt if need be, in their order (patchscopes).

    Source: Meng et al. 2022, "Locating and Editing Factual Associations", arXiv:2202.05262; Biran
    et al. 2024, "Hopping Too Late", arXiv:2406.12775 (back-patching); Ghandeharioun et al. 2024,
    "Patchscopes", arXiv:2401.06102.

    Attributes:
        source: what the other run saved; it must hold every point that is patched.
        source_point: the point to take from; by default the one that is patched.
        source_positions: the positions to take from, as many as ``where.positions`` means, one
            after the other; by default the same ones.

    Examples:
        >>> from vlmlens.interventions import PatchFrom
        >>> one, two = model.inputs(samples[:1]), model.inputs(samples[2:3])  # equally long prompts
        >>> other = model.run(two, save="blocks.3.hook_resid_post")
        >>> patch = PatchFrom("blocks.3.hook_resid_post", source=other.saved)
        >>> torch.allclose(model.run(one, patch).logits, other.logits, atol=1e-4)
        True
        >>> back = PatchFrom(  # what block 3 makes of the last position, read again from block 1 on
        ...     "blocks.1.hook_resid_pre",
        ...     vl.Where(positions="last"),
        ...     source=model.run(one, save="blocks.3.hook_resid_post").saved,
        ...     source_point="blocks.3.hook_resid_post",
        ... )
        >>> model.run(one, back).logits.shape
        torch.Size([1, 78, 418])
    """

    source: ActivationCache | None = None
    source_point: str | None = None
    source_positions: Positions | None = None

    def edit(self, x: Shaped[Tensor, "*axes"], site: Site) -> Shaped[Tensor, "*axes"]:
        """The other run's activation."""
        if self.source is None:
            raise InputError("PatchFrom needs source=run.saved of the run to patch from")
        refuse_other_model(self.source, site)
        name = site.name if self.source_point is None else self.source_point
        other = self.source[name]
        if self.source_positions is not None:
            return self._elsewhere(x, other, name, site) if site.step == 0 else x
        if site.step == 0:
            refuse_misaligned(self.source, site.layouts, name, x)
            return suited(other, x)
        if site.axes[1] == "pos" and x.shape[1] == len(site.layouts[0]):  # the whole cache
            return torch.cat([suited(other, x), x[:, other.shape[1] :]], dim=1)
        return x  # the prompt is past

    def _elsewhere(
        self, x: Shaped[Tensor, "*axes"], other: Shaped[Tensor, "..."], name: str, site: Site
    ) -> Shaped[Tensor, "*axes"]:
        """What other positions of the other run held, at those that are meant here."""
        assert self.source is not None and self.source_positions is not None
        layouts, wanted = self.source.layouts, self.where.positions
        if wanted is None or site.axes[:2] != ("batch", "pos"):
            raise InputError(
                f"source_positions={self.source_positions!r} goes with Where(positions=...), at "
                f"points with the axes batch pos; {site.name} has {' '.join(site.axes)}"
            )
        if len(layouts) != len(site.layouts) or other.shape[2:] != x.shape[2:]:
            raise InputError(
                f"{site.name} is {tuple(x.shape)} here and {name} {tuple(other.shape)} in the run "
                "to patch from: as many samples, and entries of one shape, are wanted"
            )
        if len(layouts[0]) != other.shape[1]:
            raise InputError(f"{name} was saved in part: save it whole, without rows= or reduce=")
        patched = x.clone()
        for row, (here, there) in enumerate(zip(site.layouts, layouts, strict=True)):
            to, taken = chosen(here, wanted), chosen(there, self.source_positions)
            if to.sum() != taken.sum():
                raise InputError(
                    f"sample {row}: {taken.sum()} positions to take from, and {to.sum()} to patch"
                )
            at, of = (torch.from_numpy(np.flatnonzero(mask)) for mask in (to, taken))
            patched[row, onto(at, x.device)] = suited(other[row, onto(of, other.device)], x)
        return patched
