"""Coordinates: every patch says to the projector where it is."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vlmlens.zoo.variants.additions.pool import side_of
from vlmlens.zoo.variants.extend import extended


class Coordinates(nn.Module):
    """Lays a patch's row and column beside its features, each from -1 to 1."""

    def forward(
        self, x: Float[Tensor, "image patch channel"]
    ) -> Float[Tensor, "image patch wider"]:
        side = side_of(x)
        line = torch.linspace(-1, 1, side, device=x.device, dtype=x.dtype)
        places = torch.stack([line.repeat_interleave(side), line.repeat(side)], dim=-1)
        return torch.cat([x, places.expand(len(x), -1, -1)], dim=-1)


def coordinates(model: Any) -> Any:
    """The model whose projector is told each patch's row and column.

    Two channels are laid beside the tower's features: the row, from -1 at the top to 1 at the
    bottom, and the column, from left to right. The projector's weights for them begin at zero, so
    the model says what it said before until it is trained.

    Args:
        model: a LLaVA of transformers, or one of these variants of it; it stays as it is.

    Returns:
        A copy with coordinates.

    Raises:
        UnsupportedModelError: a model that is no LLaVA.

    Source: Liu et al. 2018, "An Intriguing Failing of Convolutional Neural Networks and the
    CoordConv Solution", arXiv:1807.03247, who lay them beside an image.

    Examples:
        >>> from vlmlens.zoo import tiny, variants
        >>> hf_model, _ = tiny.build("llava")
        >>> old, new = (
        ...     each.model.multi_modal_projector.linear_1.in_features
        ...     for each in (hf_model, variants.coordinates(hf_model))
        ... )
        >>> new - old  # a row and a column more
        2
    """
    new = extended(model, coordinates=True)
    old = model.model.multi_modal_projector.linear_1
    linear = new.model.multi_modal_projector.linear_1
    with torch.no_grad():
        linear.weight.zero_()
        linear.weight[:, : old.in_features].copy_(old.weight)
    return new
