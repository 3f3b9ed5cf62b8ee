"""Removing what a place holds: zeros, a mean, or another sample's in its place."""

from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor

from vlmlens.cache import ActivationCache
from vlmlens.checks import whole
from vlmlens.errors import InputError
from vlmlens.interventions.base import Intervention, Site, generator
from vlmlens.interventions.stored import mean_activation, refuse_misaligned, refuse_other_model
from vlmlens.positions import Positions
from vlmlens.tensors import suited


@dataclass(frozen=True)
class ZeroAblate(Intervention):
    """Put zeros in place of an activation.

    Examples:
        >>> from vlmlens.interventions import ZeroAblate
        >>> blind = ZeroAblate("hook_embed", vl.Where(positions="vision"))
        >>> saved = model.run(model.inputs(sample), blind, save="hook_embed").saved
        >>> float(saved["hook_embed"][0, 4:68].abs().max())
        0.0
    """

    def edit(self, x: Shaped[Tensor, "*axes"], site: Site) -> Shaped[Tensor, "*axes"]:
        """Zeros."""
        return torch.zeros_like(x)


@dataclass(frozen=True)
class MeanAblate(Intervention):
    """Put the mean over a reference run in place of an activation.

    One mean for all positions: where a position's own content is gone, what it has in common
    with the others stays.

    Attributes:
        source: what a run over the reference samples saved, with every point that is edited.
        over: the positions of the reference run that are averaged; by default those that
            ``where.positions`` means there.

    Examples:
        >>> from vlmlens.interventions import MeanAblate
        >>> inputs = model.inputs(samples)
        >>> source = model.run(inputs, save="hook_embed").saved
        >>> mean = MeanAblate("hook_embed", vl.Where(positions="vision"), source=source)
        >>> x = model.run(inputs, mean, save="hook_embed").saved["hook_embed"][:, 6:68]
        >>> torch.equal(x, x[:1, :1].expand_as(x))  # one mean, at all vision tokens
        True
    """

    source: ActivationCache | None = None
    over: Positions | None = None

    def edit(self, x: Shaped[Tensor, "*axes"], site: Site) -> Shaped[Tensor, "*axes"]:
        """The mean, everywhere."""
        if self.source is None:
            raise InputError("MeanAblate needs source=run.saved of a run over reference samples")
        refuse_other_model(self.source, site)
        over = self.where.positions if self.over is None else self.over
        return suited(mean_activation(self.source, site.name, over), x).expand_as(x)


@dataclass(frozen=True)
class ResampleAblate(Intervention):
    """Put the activation of a sample drawn from a reference run in place of each sample's own.

    What is drawn depends on the seed and the sample alone. A reference run that holds the sample
    itself may draw it.

    Source: Chan et al. 2022, "Causal Scrubbing"; resampling keeps activations on the data's
    distribution, where zeros and means need not be.

    Attributes:
        source: what a run over the reference samples saved, aligned position by position.
        seed: of the drawing.

    Examples:
        >>> from vlmlens.interventions import ResampleAblate
        >>> one, two = model.inputs(samples[:1]), model.inputs(samples[2:3])  # equally long prompts
        >>> source = model.run(two, save="hook_embed").saved
        >>> edit = ResampleAblate("hook_embed", source=source)
        >>> drawn = model.run(one, edit, save="hook_embed").saved["hook_embed"]
        >>> torch.equal(drawn, source["hook_embed"])
        True
    """

    source: ActivationCache | None = None
    seed: int = 0

    def __post_init__(self):
        super().__post_init__()
        whole(self.seed, "seed", least=0)

    def edit(self, x: Shaped[Tensor, "*axes"], site: Site) -> Shaped[Tensor, "*axes"]:
        """The drawn samples' activations."""
        if self.source is None:
            raise InputError("ResampleAblate needs source=run.saved of a run over other samples")
        if site.axes[0] != "batch":
            raise InputError(
                f"{site.name} has the axes {' '.join(site.axes)}: samples can be drawn at points "
                "with the axis batch, for example hook_embed"
            )
        if site.step > 0:  # the prompt is past
            return x
        refuse_other_model(self.source, site)
        whole = self.source[site.name]
        drawn = [int(generator(self.seed, key).integers(len(whole))) for key in site.keys]
        layouts = [self.source.layouts[row] for row in drawn] if self.source.layouts else []
        picked = ActivationCache({site.name: whole[drawn]}, {}, layouts)
        refuse_misaligned(picked, site.layouts, site.name, x)
        return suited(picked[site.name], x)
