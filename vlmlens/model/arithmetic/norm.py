"""A norm as the linear map that it is once its scale is known."""

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor

from vlmlens.errors import UnsupportedModelError

#: Norms that were taken apart before: what computed them then, and whether they take the mean off.
CENTRED: WeakKeyDictionary[Any, tuple[Any, bool]] = WeakKeyDictionary()
#: The largest gain below which nobody can tell whether a mean is taken off.
FAINT = 0.1


@dataclass(frozen=True, eq=False)
class Norm:
    """RMSNorm or LayerNorm of one width: ``gain * (x - centre) / scale + bias``.

    ``centre`` is the mean of x for LayerNorm and 0 for RMSNorm, and ``scale`` the root of the mean
    square of what remains, plus ``eps``. With the scale of a whole stream held fixed, the norm
    acts on each part of the stream by itself, and the parts add up.

    Attributes:
        gain: the factor of every channel.
        bias: what is added at the end; zeros for RMSNorm.
        eps: what is added to the mean square.
        centred: whether the mean is taken off.

    Examples:
        >>> from vlmlens.model import Norm
        >>> module = model.hf_model.model.language_model.norm
        >>> x = torch.arange(128.0)
        >>> norm = Norm.of(module, x)
        >>> norm.centred, torch.allclose(norm.part(x, norm.scale(x)), module(x), atol=1e-4)
        (False, True)
    """

    gain: Float[Tensor, " d_model"]
    bias: Float[Tensor, " d_model"]
    eps: float
    centred: bool

    @classmethod
    def of(cls, module: Any, like: Float[Tensor, "*lead d_model"]) -> "Norm":
        """A model's own norm, found out by asking it three questions.

        The module's forward is called, past any hook, and its weights are not read: they may be
        elsewhere, and models differ in whether the weight is the gain or one less.

        Raises:
            UnsupportedModelError: neither RMSNorm nor LayerNorm.
        """
        eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
        width = like.shape[-1]
        if eps is None or width % 2:
            raise UnsupportedModelError(
                f"{type(module).__name__} is no norm that can be taken apart"
            )
        # Mean 0 and mean square 1, so that both kinds of norm see the same scale.
        signs = like.new_ones(width)
        signs[1::2] = -1
        with torch.no_grad():
            bias = module.forward(torch.zeros_like(signs))
            gain = (module.forward(signs) - bias) * signs * (1 + eps) ** 0.5
        code = type(module), vars(module).get("forward"), eps
        known, centred = CENTRED.get(module, (None, False))
        if known != code:  # asked once, not in every pass: the answers are waited for on a GPU
            centred = cls._centred(module, gain, bias, float(eps))
            if gain.abs().max() > FAINT:
                CENTRED[module] = code, centred
        return cls(gain, bias, float(eps), centred)

    @classmethod
    def _centred(
        cls,
        module: Any,
        gain: Float[Tensor, " d_model"],
        bias: Float[Tensor, " d_model"],
        eps: float,
    ) -> bool:
        """Whether a norm takes the mean off, and whether it is a norm at all."""
        ones = torch.ones_like(gain)
        with torch.no_grad():
            centred = torch.allclose(module.forward(ones), bias, atol=1e-3)
        norm = cls(gain, bias, eps, centred)
        probe = torch.arange(len(gain), dtype=gain.dtype, device=gain.device) % 7 - 2
        with torch.no_grad():
            expected = module.forward(probe)
        found = norm.part(probe, norm.scale(probe)) + bias
        if not torch.allclose(found, expected, rtol=0.02, atol=0.02):
            raise UnsupportedModelError(
                f"{type(module).__name__} is neither RMSNorm nor LayerNorm: its parts do not add up"
            )
        return centred

    def scale(self, x: Float[Tensor, "*lead d_model"]) -> Float[Tensor, "*lead one"]:
        """What a stream is divided by."""
        rest = self._rest(x.float())
        return (rest.square().mean(-1, keepdim=True) + self.eps).sqrt()

    def part(
        self, x: Float[Tensor, "*lead d_model"], scale: Float[Tensor, "*whole one"]
    ) -> Float[Tensor, "*lead d_model"]:
        """What a part of a stream becomes when the whole is divided by ``scale``; without bias."""
        return (self._rest(x) / scale * self.gain).to(x.dtype)

    def _rest(self, x: Float[Tensor, "*lead d_model"]) -> Float[Tensor, "*lead d_model"]:
        return x - x.mean(-1, keepdim=True) if self.centred else x
