"""LLaVA-1.5 and its kin: a CLIP or SigLIP tower, an MLP, a Llama- or Qwen2-like LM."""

from typing import Any

from vlmlens.errors import UnsupportedModelError
from vlmlens.families.family import Family, Pictures
from vlmlens.families.geometry import covered
from vlmlens.view import View


def one_grid(pictures: Pictures) -> list[tuple[View, ...]]:
    """Every image is one grid of the tower's patches; whole patches only."""
    patch = pictures.config.vision_config.patch_size
    height, width = pictures.tensors["pixel_values"].shape[-2:]
    rows, columns = height // patch, width // patch
    seen = rows * patch, columns * patch
    return [
        (View(rows, columns, covered(pictures.processor, size, seen)),) for size in pictures.sizes
    ]


def deepest_selected(config: Any) -> int:
    """Blocks up to the deepest layer that is selected; ``hidden_states[0]`` is the embedding."""
    depth = config.vision_config.num_hidden_layers
    chosen = getattr(config, "vision_feature_layers", None)  # ViP-LLaVA's name for it
    chosen = config.vision_feature_layer if chosen is None else chosen
    layers = [chosen] if isinstance(chosen, int) else chosen
    deepest = max(layer if layer >= 0 else depth + 1 + layer for layer in layers)
    if not 1 <= deepest <= depth:
        raise UnsupportedModelError(
            f"the projector reads the tower's layer {chosen!r}, and there are 1 to {depth}, each "
            "after a block: mend vision_feature_layer in config.json"
        )
    return deepest


LLAVA = Family(
    model_type="llava",
    views=one_grid,
    vision_used=deepest_selected,
    towers={"dinov2": "model.vision_tower.encoder.layer"},
)
