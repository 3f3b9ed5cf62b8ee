"""The matrix of a linear module, read off its weights or, where these are elsewhere, asked for."""

from typing import Any

import torch
from accelerate.utils import align_module_device
from jaxtyping import Float
from torch import Tensor, nn

from vlmlens.errors import UnsupportedModelError

Matrix = Float[Tensor, "out into"]
Bias = Float[Tensor, " out"]


def matrix_of(module: Any) -> tuple[Matrix, Bias]:
    """What a linear module multiplies with and adds: ``module(x) = x @ matrix.T + bias``.

    Of torch's own linear module its weights, in place; a bias that it lacks is zeros. Any other (a
    quantised one, one with an adapter) is called with every unit vector, past its hooks.

    Raises:
        UnsupportedModelError: a module that does not say how wide its input is.
    """
    with align_module_device(module), torch.no_grad():
        weight: Any = getattr(module, "weight", None)
        if type(module) is nn.Linear and weight.is_floating_point() and not weight.is_meta:
            bias = module.bias
            weight = weight.detach()
            return weight, weight.new_zeros(len(weight)) if bias is None else bias.detach()
        width = getattr(module, "in_features", None)
        if width is None or (weight is not None and weight.is_meta):
            raise UnsupportedModelError(
                f"the weights of {type(module).__name__} are not at hand: it is no linear module "
                "that can be asked for its matrix"
            )
        like = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(1))
        units = torch.eye(width, dtype=like.dtype, device=like.device)
        bias = module.forward(torch.zeros_like(units[:1]))[0]
        return (module.forward(units) - bias).T, bias
