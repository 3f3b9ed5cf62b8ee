"""Attention scaled, or set by hand."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from vlmlens.checks import one_of
from vlmlens.errors import InputError
from vlmlens.interventions.base import Intervention, Site
from vlmlens.interventions.stored import Stored
from vlmlens.tensors import suited


@dataclass(frozen=True)
class ScaleAttention(Intervention):
    """Multiply attention scores before the softmax, for example those of the image's keys.

    With ``where=Where(queries="last", keys="vision")`` and by > 1 the attention over the image
    sharpens, with by < 1 it widens.

    Source: Chen et al. 2025, "Why Is Spatial Reasoning Hard for VLMs?" (AdaptVis),
    arXiv:2503.01773, alpha is our ``by``.

    Attributes:
        by: the factor, above 0. (To take attention away altogether there is ``KnockOut``.)

    Examples:
        >>> from vlmlens.interventions import ScaleAttention
        >>> where = vl.Where(queries="last", keys="vision")
        >>> widened = ScaleAttention(where=where, by=0.5)
        >>> point = "blocks.0.attn.hook_attn_scores"
        >>> clean = model.run(model.inputs(sample), save=point).saved[point]
        >>> scores = model.run(model.inputs(sample), widened, save=point).saved[point]
        >>> torch.allclose(scores[0, :, -1, 4:68], clean[0, :, -1, 4:68] * 0.5)
        True
    """

    point: str = "blocks.*.attn.hook_attn_scores"
    by: int | float = 1.0

    def edit(self, x: Shaped[Tensor, "*axes"], site: Site) -> Shaped[Tensor, "*axes"]:
        """The scores times ``by``; hidden keys stay hidden."""
        if self.by <= 0:
            raise InputError(f"by={self.by}: scores are scaled by what is above 0; see KnockOut")
        return x * self.by


#: The patterns that can be asked for by name.
PATTERNS = ("uniform", "self", "first")


@dataclass(frozen=True)
class SetPattern(Intervention):
    """Set whole rows of the attention pattern.

    Attributes:
        to: ``"uniform"`` over all keys that the query sees, ``"self"`` all on the query's own
            position, ``"first"`` all on the sample's first token; or weights along the last axes
            of (batch, head, query, key), each row summing to 1, for the prompt.

    Examples:
        >>> from vlmlens.interventions import SetPattern
        >>> even = SetPattern(where=vl.Where(layers=0, queries="last"), to="uniform")
        >>> run = model.run(model.inputs(sample), even, save="blocks.0.attn.hook_pattern")
        >>> torch.allclose(run.saved["pattern", 0][0, :, -1], torch.tensor(1 / 78))
        True
    """

    point: str = "blocks.*.attn.hook_pattern"
    to: str | Float[Tensor, "..."] | Stored = "uniform"
    reads: ClassVar[tuple[str, ...]] = ("attn.hook_attn_scores",)

    def __post_init__(self):
        super().__post_init__()
        if isinstance(self.to, str):
            one_of(self.to, "to", PATTERNS, ", or a tensor")
        else:
            object.__setattr__(self, "to", Stored.of(self.to, "to"))

    def edit(self, x: Shaped[Tensor, "*axes"], site: Site) -> Shaped[Tensor, "*axes"]:
        """The pattern that was asked for, wherever a query sees any key."""
        if self.where.keys is not None:
            raise InputError(
                "SetPattern sets whole rows, which sum to 1: leave where.keys out; to take "
                "attention from some keys there is KnockOut"
            )
        seen = site.read("attn.hook_attn_scores") > -torch.inf
        made = suited(self._made(x, site, seen), x)
        if isinstance(self.to, Stored) or self.to == "first":
            self._refuse_hidden((made != 0) & ~seen, seen, x, site)
        return made.masked_fill(~seen, 0)

    def _refuse_hidden(
        self,
        hidden: Bool[Tensor, "*axes"],
        seen: Bool[Tensor, "*axes"],
        x: Float[Tensor, "*axes"],
        site: Site,
    ) -> None:
        """Refuse weight on keys that a chosen query does not see: its row would be empty."""
        if self.to == "first":  # padding sees nothing, and gets nothing
            hidden = hidden & seen.any(-1, keepdim=True)
        mask, _ = site.meant(self.where, x)
        hidden = hidden if mask is None else hidden & mask
        if not hidden.is_meta and bool(hidden.any()):
            raise InputError(
                f"the pattern gives weight to keys that their query does not see at {site.name}; "
                "where a layer sees a window of the last tokens, the first ones are out of it: "
                "choose other layers or queries, where=Where(layers=..., queries=...)"
            )

    def _made(
        self, x: Float[Tensor, "*axes"], site: Site, seen: Bool[Tensor, "*axes"]
    ) -> Float[Tensor, "*axes"]:
        if isinstance(self.to, Stored):
            given = self.to.tensor
            if site.step > 0:
                raise InputError("a pattern by hand is for the prompt: add steps='prefill'")
            if given.shape != x.shape[x.ndim - given.ndim :]:
                raise InputError(f"the pattern is {tuple(given.shape)}, not {tuple(x.shape)}")
            if not torch.allclose(given.sum(-1), torch.ones_like(given.sum(-1)), atol=1e-4):
                raise InputError("the rows of the pattern do not sum to 1")
            return given.expand_as(x)
        if self.to == "uniform":
            return seen / seen.sum(-1, keepdim=True).clamp(min=1)
        made = torch.zeros_like(x)
        queries, keys = x.shape[-2:]
        if self.to == "self":
            own = torch.arange(queries, device=x.device)
            made[..., own, own + keys - queries] = 1
            return made
        for row, layout in enumerate(site.layouts):
            first = next(i for i, role in enumerate(layout.roles) if role != "pad")
            at = first - (len(layout) - keys)
            if at < 0:
                raise InputError("the first token is out of this layer's sliding window")
            made[row, :, :, at] = 1
        return made
