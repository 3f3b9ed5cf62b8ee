"""+Multilayer: the projector reads several of the tower's layers at once."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from vlmlens.errors import InputError, UnsupportedModelError
from vlmlens.zoo.variants.extend import extended, refuse_others


class FeatureLayerNorm(nn.Module):
    """The tower's final norm, on each of the layers that are read.

    Its weights are buffers, saved but never trained: the tower is frozen, and so is its norm.
    """

    weight: Float[Tensor, " width"]
    bias: Float[Tensor, " width"]

    def __init__(self, config: Any):
        super().__init__()
        self.width, self.eps = config.vision_config.hidden_size, config.vision_config.layer_norm_eps
        self.register_buffer("weight", torch.ones(self.width))
        self.register_buffer("bias", torch.zeros(self.width))

    def forward(
        self, x: Float[Tensor, "image patch channel"]
    ) -> Float[Tensor, "image patch channel"]:
        layers = x.unflatten(-1, (-1, self.width))
        return layer_norm(layers, (self.width,), self.weight, self.bias, self.eps).flatten(-2)


def multilayer(model: Any, layers: Sequence[int] | None = None, *, seed: int = 0) -> Any:
    """The model whose projector reads several layers of the tower: +Multilayer, to be trained.

    Each layer's output passes a copy of the tower's final norm, which stays frozen, CLS is
    dropped where the model drops it, and the channels are laid side by side. The projector's
    first linear map gets that many inputs and begins anew, so the projector has to be trained.

    Args:
        model: a LLaVA of transformers, or one of these variants of it; it stays as it is.
        layers: which blocks' outputs, counted from 1; 0 is the embedding. By default four from
            the middle to the last: 12, 16, 20, 24 in a tower of 24.
        seed: of the new weights.

    Returns:
        A copy that reads these layers.

    Raises:
        InputError: layers that the tower does not have, or none.
        UnsupportedModelError: a model that is no LLaVA, or a tower without a final norm.

    Source: Qi et al. 2025, "Beyond Semantics", arXiv:2503.17349.

    Examples:
        >>> from vlmlens.zoo import tiny, variants
        >>> hf_model, _ = tiny.build("llava")
        >>> variants.multilayer(hf_model, layers=[1, 2]).config.vision_feature_layer
        [1, 2]
    """
    refuse_others(model)
    depth = model.config.vision_config.num_hidden_layers
    chosen = _upper_half(depth) if layers is None else [int(layer) for layer in layers]
    if not chosen or not all(0 <= layer <= depth for layer in chosen):
        raise InputError(f"layers={chosen}: the tower has blocks 1 to {depth}, and 0 before them")
    tower = model.model.vision_tower
    if not isinstance(getattr(tower, "post_layernorm", None), nn.LayerNorm):
        raise UnsupportedModelError(
            f"{type(tower).__name__} has no post_layernorm, which every layer should pass"
        )
    new = extended(model, vision_feature_layer=chosen, feature_norm=True)
    projector = new.model.multi_modal_projector
    projector.feature_norm.load_state_dict(tower.post_layernorm.state_dict())
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        projector.linear_1.reset_parameters()  # nn.Linear's own, as LLaVA's projector begins
    return new


def _upper_half(depth: int) -> list[int]:
    return sorted({int(layer) for layer in np.linspace(depth / 2, depth, 4).round()})
