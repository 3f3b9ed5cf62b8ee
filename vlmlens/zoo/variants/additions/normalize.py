"""+Normalize: vision tokens as long as words, before they enter the language model."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import initialization as init

from vlmlens.errors import InputError, UnsupportedModelError
from vlmlens.zoo.variants.extend import extended, refuse_others

KINDS = ("paper", "match_mean", "match_each", "match_distribution")

#: Mean and largest norm of Vicuna's text embeddings: constants of the paper's code.
PAPER = {"kind": "paper", "mean": 0.83, "most": 1.22, "eps": 1e-6}

#: Quantiles of the table's norms that are kept, from the shortest word to the longest.
QUANTILES = 129


class VisionNorm(nn.Module):
    """Rescales an image's tokens, with a gain that is learned; ``normalize`` has the formulas."""

    def __init__(self, config: Any):
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.ones(config.text_config.hidden_size))

    def begin(self) -> None:
        """Set the weights to what training begins from."""
        init.ones_(self.weight)

    def forward(
        self, x: Float[Tensor, "image patch d_model"]
    ) -> Float[Tensor, "image patch d_model"]:
        words, y = self.config.normalize, x.float()
        if words["kind"] == "paper":
            y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + words["eps"])
            y = y * self.weight.float()
            shorter = words["most"] / y.norm(dim=-1, keepdim=True)
            return (words["mean"] * y * shorter.clamp(max=1)).to(x.dtype)
        y = y * self.weight.float()
        lengths = y.norm(dim=-1, keepdim=True)
        if words["kind"] == "match_mean":
            wanted = words["mean"] * lengths / lengths.mean(dim=1, keepdim=True)
        elif words["kind"] == "match_each":
            wanted = words["mean"]
        else:
            wanted = _by_rank(lengths, lengths.new_tensor(words["quantiles"]))
        return (y * (wanted / lengths)).to(x.dtype)


def normalize(model: Any, kind: str = "paper") -> Any:
    """The model with a norm after its projector: +Normalize, to be trained with.

    With x a projected token, g a learned gain that begins at 1 and T the L2 norms of the model's
    own embedding table:

        paper               y = g x / sqrt(mean(x^2) + 1e-6);  0.83 y min(1.22 / |y|, 1)
        match_mean          y = g x;  y mean(T) / mean(|y|), one factor an image: the skew stays
        match_each          y = g x;  y mean(T) / |y|: every token as long as the mean word
        match_distribution  y = g x;  the token of rank r by length gets the r-th quantile of T

    In ``"paper"`` |y| is about the root of the width, so the clip is always active and every
    token leaves with norm 1.22 * 0.83 = 1.0126, whatever the model's words are like. The other
    kinds take their constants from the table as it is now; ``refresh`` takes them anew after the
    language model was trained. The constants stand in ``config.normalize``, so a saved model
    says them. With gain 1 each kind is the intervention ``NormalizeVision`` of the same name.

    Put into a model that was trained without it, this breaks the model: retrain projector and
    language model.

    Args:
        model: a LLaVA of transformers, or one of these variants of it; it stays as it is.
        kind: one of these words.

    Returns:
        A copy with the norm.

    Raises:
        InputError: a kind that does not exist.
        UnsupportedModelError: a model that is no LLaVA.

    Source: Qi et al. 2025, "Beyond Semantics", arXiv:2503.17349.

    Examples:
        >>> from vlmlens.interventions import text_norms
        >>> from vlmlens.zoo import tiny, variants
        >>> hf_model, processor = tiny.build("llava")
        >>> vlm = vl.HookedVLM(variants.normalize(hf_model, kind="match_each"), processor)
        >>> saved = vlm.run(vlm.inputs(sample), save="projector.hook_out").saved
        >>> norms = saved["projector.hook_out"].norm(dim=-1)
        >>> torch.allclose(norms, text_norms(vlm).mean(), rtol=1e-3)
        True
    """
    refuse_others(model)
    if kind not in KINDS:
        raise InputError(f"kind={kind!r}; there is: {', '.join(KINDS)}")
    return extended(model, normalize=PAPER if kind == "paper" else _of_table(model, kind))


def refresh(model: Any) -> dict[str, Any]:
    """Take the norm's constants anew from the model's embedding table, as it is now.

    Args:
        model: one made by ``normalize``; it is changed.

    Returns:
        The constants, as they now stand in ``model.config.normalize``.

    Raises:
        UnsupportedModelError: a model without a norm, or with the paper's, whose constants are
            fixed.

    Examples:
        >>> from vlmlens.zoo import tiny, variants
        >>> hf_model, _ = tiny.build("llava")
        >>> normed = variants.normalize(hf_model, kind="match_each")
        >>> with torch.no_grad():
        ...     _ = normed.get_input_embeddings().weight.mul_(2)  # as training changes it
        >>> before = normed.config.normalize["mean"]
        >>> round(variants.refresh(normed)["mean"] / before, 2)
        2.0
    """
    now = getattr(model.config, "normalize", None)
    if now is None:
        raise UnsupportedModelError("this model has no norm to refresh: normalize(model) adds one")
    if now["kind"] == "paper":
        raise UnsupportedModelError(
            "the paper's norm has constants of its own (0.83 and 1.22), which no table changes; "
            f"kinds that follow the table: {', '.join(KINDS[1:])}"
        )
    model.config.normalize = _of_table(model, now["kind"])
    return model.config.normalize


def _of_table(model: Any, kind: str) -> dict[str, Any]:
    """The constants of a kind, from the norms of all words; rows of zeros do not count."""
    embed = model.get_input_embeddings()
    with torch.no_grad():  # the module and not its weight: some scale what they look up
        words = torch.arange(embed.num_embeddings, device=model.device).split(8192)
        norms = torch.cat([embed(ids).float().norm(dim=-1) for ids in words])
    norms = norms[norms > 0].sort().values
    found: dict[str, Any] = {"kind": kind, "mean": norms.mean().item()}
    if kind == "match_distribution":
        share = torch.linspace(0, 1, QUANTILES, device=norms.device)
        found["quantiles"] = _between(norms, share).tolist()
    return found


def _by_rank(
    lengths: Float[Tensor, "image patch 1"], quantiles: Float[Tensor, " quantile"]
) -> Float[Tensor, "image patch 1"]:
    """What each token's length becomes: the quantile of its rank among its image's."""
    rank = lengths.argsort(dim=1).argsort(dim=1)
    return _between(quantiles, (rank + 0.5) / lengths.shape[1])


def _between(
    ordered: Float[Tensor, " value"], share: Float[Tensor, "*axes"]
) -> Float[Tensor, "*axes"]:
    """Values at shares of the way through an ordered row, in a line between neighbours."""
    at = share * (len(ordered) - 1)
    return torch.lerp(ordered[at.floor().long()], ordered[at.ceil().long()], at.frac())
