"""Vision tokens brought to the length of text tokens."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from vlmlens.checks import number, one_of
from vlmlens.interventions.base import Intervention, Site
from vlmlens.interventions.vision import images
from vlmlens.tensors import onto

KINDS = ("paper", "match_mean", "match_each", "match_distribution")


@dataclass(frozen=True)
class NormalizeVision(Intervention):
    """Rescale an image's tokens; their directions stay.

    With x a token, d its width and T the L2 norms of the model's own embedding table:

        paper               y = x / sqrt(mean(x^2) + eps);  0.83 y min(1.22 / |y|, 1)
        match_mean          x mean(T) / mean(|x|), one factor an image: the skew stays
        match_each          x mean(T) / |x|: every token as long as the mean text token: a norm
                            layer whose gain comes from the table
        match_distribution  the token of rank r by length gets the r-th quantile of T

    0.83 and 1.22 are the mean and largest norm of Vicuna's embeddings, and the clip is always
    active: every token leaves with norm 1.0126. Rows of zeros in the table do not count.

    The paper trains its models with this in place. Put into a model that was trained without, it
    may cost nearly nothing, or nearly all that the model sees: measure before you conclude.

    Source: Qi et al. 2025, "Beyond Semantics", arXiv:2503.17349, Normalize, with gain 1.

    Attributes:
        kind: one of these four.
        eps: under the root, in ``"paper"``.

    Examples:
        >>> from vlmlens.interventions import NormalizeVision
        >>> edit = NormalizeVision(kind="paper")
        >>> saved = model.run(model.inputs(sample), edit, save="hook_embed").saved
        >>> norms = saved["hook_embed"][0, 4:68].norm(dim=-1)
        >>> round(float(norms.min()), 2), round(float(norms.max()), 2)
        (1.01, 1.01)
    """

    point: str = "hook_embed"
    kind: str = "match_mean"
    eps: float = 1e-6

    def __post_init__(self):
        super().__post_init__()
        one_of(self.kind, "kind", KINDS)
        number(self.eps, "eps", least=0)

    def edit(self, x: Shaped[Tensor, "*axes"], site: Site) -> Shaped[Tensor, "*axes"]:
        """The activation with its vision tokens rescaled."""
        out = x.clone()
        lengths = None if self.kind == "paper" else onto(_every_norm(site.model), x.device)
        for own in images(x, site):
            tokens = x[own.at(own.places)].float()
            out[own.at(own.places)] = self._rescaled(tokens, lengths).to(x.dtype)
        return out

    def _rescaled(
        self, tokens: Float[Tensor, "token d_model"], text: Float[Tensor, " text"] | None
    ) -> Float[Tensor, "token d_model"]:
        if text is None:
            y = tokens * torch.rsqrt(tokens.square().mean(-1, keepdim=True) + self.eps)
            return 0.83 * y * (1.22 / y.norm(dim=-1, keepdim=True)).clamp(max=1)
        lengths = tokens.norm(dim=-1, keepdim=True)
        # Rows of zeros do not count; taken out, their number would be waited for.
        known = (text > 0).sum()
        mean = text.sum() / known
        if self.kind == "match_mean":
            return tokens * mean / lengths.mean()
        if self.kind == "match_each":
            return tokens * mean / lengths
        rank = lengths[:, 0].argsort().argsort()
        share = (rank + 0.5) / len(tokens)
        ordered = text.sort().values  # torch.quantile takes no more than 16 million numbers
        at = len(text) - known + share * (known - 1)
        low, high = ordered[at.floor().long()], ordered[at.ceil().long()]
        return tokens * (torch.lerp(low, high, at.frac()) / lengths[:, 0])[:, None]


def text_norms(model: Any) -> Float[Tensor, " token"]:
    """The L2 norm of every text token's embedding as it enters the language model; zeros left out.

    Args:
        model: an open ``HookedVLM``.

    Examples:
        >>> from vlmlens.interventions import text_norms
        >>> norms = text_norms(model)
        >>> norms.shape, bool((norms > 0).all())  # 418 tokens, of which padding is zeros
        (torch.Size([417]), True)
    """
    found = _every_norm(model)
    return found[found > 0]


def _every_norm(model) -> Float[Tensor, " token"]:
    embed = model.hf_model.get_input_embeddings()
    norms = []
    with torch.no_grad():  # the module and not its weight: some scale what they look up
        for ids in torch.arange(embed.num_embeddings, device=model.device).split(8192):
            norms.append(embed(ids[None])[0].float().norm(dim=-1))
    return torch.cat(norms)
