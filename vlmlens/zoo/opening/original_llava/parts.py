"""What a checkpoint is put together from, read off its weights' shapes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Shaped
from torch import Tensor

from vlmlens.errors import UnsupportedModelError
from vlmlens.zoo.opening.original_llava.settings import agree
from vlmlens.zoo.opening.original_llava.tower import tower_config, tower_weights

#: Blocks of a tower of 24 that +Multilayer reads, counted from 1. They stand in code only.
MULTILAYER = (12, 16, 20, 24)


@dataclass(frozen=True)
class Parts:
    """What a checkpoint is put together from.

    Attributes:
        settings: what its ``config.json`` says.
        tower_config: of the tower.
        added: weights to be added: the tower's, where the checkpoint holds none, and the copy of
            its final norm that +Multilayer has.
        normalized: whether the projector is +Normalize's.
        multilayer: whether it reads four layers.
    """

    settings: Mapping[str, Any]
    tower_config: Any
    added: dict[str, Shaped[Tensor, "..."]]
    normalized: bool
    multilayer: bool

    def config(self, image_id: int, rows: int) -> Any:
        """The configuration of transformers, or of the variant."""
        from transformers import LlamaConfig, LlavaConfig

        from vlmlens.zoo.variants import LlavaVariantConfig
        from vlmlens.zoo.variants.additions.normalize import PAPER

        fields = {*LlamaConfig().to_dict(), "rope_theta", "rope_scaling"}
        fields -= {"model_type", "architectures", "transformers_version", "dtype"}
        stated = {name: value for name, value in self.settings.items() if name in fields}
        side = self.tower_config.image_size // self.tower_config.patch_size
        layer = self.settings.get("mm_vision_select_layer", -2)
        whole: dict[str, Any] = {
            "vision_config": self.tower_config.to_dict(),
            "text_config": LlamaConfig.from_dict(stated | {"vocab_size": rows}).to_dict(),
            "image_token_index": image_id,
            "image_seq_length": side * side,
            "vision_feature_layer": list(MULTILAYER) if self.multilayer else layer,
            "vision_feature_select_strategy": "default",
            "tie_word_embeddings": False,
        }
        added: dict[str, Any] = {}
        if self.normalized:
            added["normalize"] = dict(PAPER)
        if self.multilayer:
            added["feature_norm"] = True
        return LlavaVariantConfig(**whole, **added) if added else LlavaConfig(**whole)


def parts_of(
    settings: Mapping[str, Any],
    weights: Mapping[str, Shaped[Tensor, "..."]],
    normalized: bool,
    vision_tower: str | None,
    hub: Mapping[str, Any],
) -> Parts:
    """The tower, and how many of its layers the projector reads, by its weights' shape.

    Raises:
        UnsupportedModelError: no tower to be had, or a projector that fits no number of layers.
    """
    name = vision_tower or settings.get("mm_vision_tower")
    if not name:
        raise UnsupportedModelError(
            "config.json names no mm_vision_tower: pass vision_tower=, a folder or a hub id"
        )
    first = weights.get("model.multi_modal_projector.linear_1.weight")
    if first is None:
        raise UnsupportedModelError("the checkpoint holds no model.mm_projector.0.weight")
    config = tower_config(name, hub)
    layers, rest = divmod(first.shape[1], config.hidden_size)
    if rest or layers not in (1, len(MULTILAYER)):
        raise UnsupportedModelError(
            f"the projector has {first.shape[1]} inputs, which is neither one layer of the tower "
            f"{name} ({config.hidden_size} channels) nor {len(MULTILAYER)}"
        )
    multilayer = layers > 1
    if multilayer and config.num_hidden_layers != max(MULTILAYER):
        raise UnsupportedModelError(
            f"+Multilayer reads blocks {', '.join(map(str, MULTILAYER))} of a tower of 24; {name} "
            f"has {config.num_hidden_layers}"
        )
    agree(settings, "use_multilayer_features", multilayer, "the projector's inputs")
    tower: dict[str, Tensor] = {}
    own = any(key.startswith("model.vision_tower.") for key in weights)
    if not own:
        if settings.get("unfreeze_mm_vision_tower"):
            raise UnsupportedModelError(
                "config.json says that the tower was trained (unfreeze_mm_vision_tower), but the "
                "checkpoint does not hold it"
            )
        tower = {f"model.vision_tower.{k}": v for k, v in tower_weights(name, hub).items()}
    if multilayer:
        for part in ("weight", "bias"):
            norm = (weights if own else tower).get(f"model.vision_tower.post_layernorm.{part}")
            if norm is None:
                raise UnsupportedModelError("the tower's post_layernorm is missing")
            tower[f"model.multi_modal_projector.feature_norm.{part}"] = norm.clone()
    return Parts(settings, config, tower, normalized, multilayer)
