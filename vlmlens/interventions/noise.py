"""Noise on an activation: a corruption that needs no second sample."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from vlmlens.checks import number, whole
from vlmlens.errors import InputError
from vlmlens.interventions.base import Intervention, Site, generator
from vlmlens.positions import chosen
from vlmlens.tensors import onto


@dataclass(frozen=True)
class AddNoise(Intervention):
    """Add Gaussian noise, ``by`` times as spread as what it is added to.

    With s the standard deviation of a sample's entries at the positions that ``where`` means,

        x + by * s * n,  n drawn from N(0, 1)

    What is drawn depends on the seed, the sample and the point alone, whatever batch it is in.
    While decoding, what comes after the prompt is left as it is.

    Source: Meng et al. 2022, "Locating and Editing Factual Associations", arXiv:2202.05262, where
    noise of three standard deviations on the subject's embeddings is the corruption.

    Attributes:
        by: how strong the noise is.
        seed: of the drawing.

    Examples:
        >>> from vlmlens.interventions import AddNoise
        >>> noise = AddNoise("hook_embed", vl.Where(positions="vision"), by=3.0)
        >>> inputs = model.inputs(sample)
        >>> clean, noisy = model.run(inputs), model.run(inputs, noise)
        >>> torch.equal(model.run(inputs, noise).logits, noisy.logits)  # the same every time
        True
        >>> torch.allclose(noisy.logits, clean.logits, atol=0.1)
        False
    """

    by: int | float = 3.0
    seed: int = 0

    def __post_init__(self):
        super().__post_init__()
        number(self.by, "by", above=0)
        whole(self.seed, "seed", least=0)

    def edit(self, x: Shaped[Tensor, "*axes"], site: Site) -> Shaped[Tensor, "*axes"]:
        """The activation and the noise."""
        if site.axes[:2] != ("batch", "pos"):
            raise InputError(
                f"{site.name} has the axes {' '.join(site.axes)}: noise is drawn sample by sample "
                "at points with the axes batch pos, for example hook_embed"
            )
        if site.step > 0:  # the prompt is past
            return x
        noisy = x.clone()
        name = int.from_bytes(site.name.encode(), "big") % 2**32
        for row, (layout, key) in enumerate(zip(site.layouts, site.keys, strict=True)):
            wanted = self.where.positions
            meant = ~layout.mask("pad") if wanted is None else chosen(layout, wanted)
            at = onto(torch.from_numpy(np.flatnonzero(meant)), x.device)
            own = x[row, at]
            drawn = generator(self.seed, key, name).standard_normal(tuple(own.shape))
            spread = own.float().std(correction=0)
            noise = onto(torch.from_numpy(drawn).float(), x.device) * spread * self.by
            noisy[row, at] = (own.float() + noise).to(x.dtype)
        return noisy
