"""LLaVA-1.5 and its kin: a CLIP or SigLIP tower, an MLP, a Llama- or Qwen2-like LM."""

from typing import Any

from vlmlens.families.family import Family


def _grid(config: Any, height: int, width: int) -> tuple[int, int]:
    patch = config.vision_config.patch_size
    return height // patch, width // patch


def _used(config: Any) -> int:
    """Blocks up to the deepest layer that is selected; ``hidden_states[0]`` is the embedding."""
    count = config.vision_config.num_hidden_layers
    chosen = config.vision_feature_layer
    layers = [chosen] if isinstance(chosen, int) else chosen
    return max(layer if layer >= 0 else count + 1 + layer for layer in layers)


LLAVA = Family(
    model_type="llava",
    vision_layers="model.vision_tower.encoder.layers",
    projector="model.multi_modal_projector",
    lm_layers="model.language_model.layers",
    image_grid=_grid,
    vision_used=_used,
)
