"""A sparse dictionary, as SAELens writes them down: its settings, its weights, what it computes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vlmlens.checks import shown, whole
from vlmlens.errors import InputError

#: Weights that each architecture has, by name -> their axes.
_SAE = {"W_enc": "d_in d_sae", "W_dec": "d_sae d_out", "b_dec": "d_out"}
_BIASED = _SAE | {"b_enc": "d_sae"}
ARCHITECTURES: Mapping[str, Mapping[str, str]] = {
    "standard": _BIASED,
    "topk": _BIASED,
    "jumprelu": _BIASED | {"threshold": "d_sae"},
    "gated": _SAE | {"b_gate": "d_sae", "b_mag": "d_sae", "r_mag": "d_sae"},
    "transcoder": _BIASED,
    "jumprelu_transcoder": _BIASED | {"threshold": "d_sae"},
}


@dataclass(frozen=True)
class Settings:
    """What decides over a dictionary's numbers beside its weights.

    Attributes:
        architecture: one of ``standard``, ``topk``, ``jumprelu``, ``gated``, ``transcoder``,
            ``jumprelu_transcoder``.
        d_in: numbers of a row that is read.
        d_sae: features.
        d_out: numbers of a row that is written.
        k: features that are kept of each row, for ``topk``.
        centred: whether the decoder's bias is taken off what is read.
        by_norm: whether ``topk`` weighs features by the length of what they write.
        point: where it was trained to write, if that is known.
        reads: where it reads; the same point, but for transcoders.

    Raises:
        InputError: an architecture that is not known here, or sizes that cannot be.

    Examples:
        >>> from vlmlens.interop import sae
        >>> sae.Settings("topk", d_in=128, d_sae=512, d_out=128, k=16).k
        16
    """

    architecture: str
    d_in: int
    d_sae: int
    d_out: int
    k: int = 0
    centred: bool = True
    by_norm: bool = False
    point: str = ""
    reads: str = ""

    def __post_init__(self):
        if self.architecture not in ARCHITECTURES:
            raise InputError(
                f"no architecture {shown(self.architecture)} is known here; there are "
                f"{', '.join(ARCHITECTURES)}. Whatever has encode and decode can be spliced in: "
                "open it with the library that it comes from"
            )
        for name in ("d_in", "d_sae", "d_out"):
            whole(getattr(self, name), name, least=1)
        if self.architecture == "topk":
            whole(self.k, "k", 1, self.d_sae)
        if self.centred and (self.d_in != self.d_out or "transcoder" in self.architecture):
            raise InputError(
                "a transcoder's bias is of what it writes, and cannot be taken off what it reads: "
                "apply_b_dec_to_input=False"
            )


class SAE(nn.Module):
    """A sparse autoencoder or transcoder.

    With W and b the encoder's and V and c the decoder's weights, x centred by c where that is set,

        pre = x W + b,    decode(acts) = acts V + c,

    and acts are pre's positive part (``standard``), that of the k largest (``topk``), or that of
    what lies above a threshold (``jumprelu``).

    Args:
        settings: sizes, and what is computed.
        weights: by SAELens's names; by default zeros.

    Raises:
        InputError: weights that are missing, surplus or of other shapes.

    Source:
        Bricken et al. 2023; Gao et al. 2024, arXiv:2406.04093 (topk); Rajamanoharan et al. 2024,
        arXiv:2404.16014 (gated), arXiv:2407.14435 (jumprelu); Dunefsky et al. 2024,
        arXiv:2406.11944 (transcoders).

    Examples:
        >>> found = vl.interop.sae.load("shapes-base")
        >>> found
        SAE(topk, 128 -> 512 at blocks.2.hook_resid_post)
        >>> acts = found.encode(torch.randn(3, 128))
        >>> acts.shape, found.decode(acts).shape
        (torch.Size([3, 512]), torch.Size([3, 128]))
    """

    W_enc: Float[Tensor, "d_in d_sae"]
    W_dec: Float[Tensor, "d_sae d_out"]
    b_enc: Float[Tensor, " d_sae"]
    b_dec: Float[Tensor, " d_out"]
    b_gate: Float[Tensor, " d_sae"]
    b_mag: Float[Tensor, " d_sae"]
    r_mag: Float[Tensor, " d_sae"]
    threshold: Float[Tensor, " d_sae"]

    def __init__(
        self, settings: Settings, weights: Mapping[str, Float[Tensor, "..."]] | None = None
    ):
        super().__init__()
        self.settings = settings
        wanted = shapes(settings)
        given = {n: torch.zeros(s) for n, s in wanted.items()} if weights is None else weights
        found = {name: tuple(x.shape) for name, x in given.items()}
        if found != wanted:
            raise InputError(
                f"a dictionary {settings.architecture!r} of {settings.d_in} -> {settings.d_sae} "
                f"has the weights {wanted}, and these are {found}"
            )
        for name in wanted:
            self.register_parameter(name, nn.Parameter(given[name], requires_grad=False))

    @property
    def point(self) -> str:
        """Where it was trained to write; "" where nobody said."""
        return self.settings.point

    @property
    def d_in(self) -> int:
        """Numbers of a row that it reads."""
        return self.settings.d_in

    def __repr__(self) -> str:
        own = self.settings
        at = f" at {own.point}" if own.point else ""
        return f"SAE({own.architecture}, {own.d_in} -> {own.d_sae}{at})"

    def pre(self, x: Float[Tensor, "*rows d_in"]) -> Float[Tensor, "*rows d_sae"]:
        """Features before the nonlinearity."""
        x = x - self.b_dec if self.settings.centred else x
        if self.settings.architecture == "gated":
            return x @ (self.W_enc * self.r_mag.exp()) + self.b_mag
        pre = x @ self.W_enc + self.b_enc
        return pre * self.W_dec.norm(dim=-1) if self.settings.by_norm else pre

    def encode(self, x: Float[Tensor, "*rows d_in"]) -> Float[Tensor, "*rows d_sae"]:
        """How active each feature is.

        Examples:
            >>> found = vl.interop.sae.load("shapes-base")
            >>> int((found.encode(torch.randn(128)) > 0).sum()) <= found.settings.k
            True
        """
        own, pre = self.settings, self.pre(x)
        if own.architecture == "topk":
            kept = pre.topk(own.k, dim=-1, sorted=False)
            return torch.zeros_like(pre).scatter(-1, kept.indices, kept.values.relu())
        if own.architecture == "gated":
            centred = x - self.b_dec if own.centred else x
            return pre.relu() * (centred @ self.W_enc + self.b_gate > 0)
        if "jumprelu" in own.architecture:
            return pre.relu() * (pre > self.threshold)
        return pre.relu()

    def decode(self, acts: Float[Tensor, "*rows d_sae"]) -> Float[Tensor, "*rows d_out"]:
        """What features make.

        Examples:
            >>> found = vl.interop.sae.load("shapes-base")
            >>> torch.equal(found.decode(torch.zeros(512)), found.b_dec)  # no feature is active
            True
        """
        acts = acts / self.W_dec.norm(dim=-1) if self.settings.by_norm else acts
        return acts @ self.W_dec + self.b_dec


def shapes(settings: Settings) -> dict[str, tuple[int, ...]]:
    """The shapes of an architecture's weights, by name."""
    sizes: dict[str, Any] = vars(settings)
    return {
        name: tuple(sizes[axis] for axis in axes.split())
        for name, axes in ARCHITECTURES[settings.architecture].items()
    }
