"""The CLIP tower that a checkpoint names."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Shaped
from torch import Tensor

from vlmlens.errors import UnsupportedModelError

#: Shapes of the towers that LLaVA-1.5 names, for checkpoints that hold the weights themselves.
KNOWN: Mapping[str, Mapping[str, Any]] = {
    name: {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": side,
        "patch_size": 14,
        "projection_dim": 768,
    }
    for name, side in (
        ("openai/clip-vit-large-patch14-336", 336),
        ("openai/clip-vit-large-patch14", 224),
    )
}


def tower_config(name: str, hub: Mapping[str, Any]) -> Any:
    """The tower's configuration, from its folder, from what is known, or from the hub.

    Raises:
        UnsupportedModelError: it cannot be had, or is no CLIP tower.
    """
    from transformers import AutoConfig, CLIPVisionConfig

    if name in KNOWN:
        return CLIPVisionConfig(**KNOWN[name])
    try:
        config: Any = AutoConfig.from_pretrained(name, **hub)
    except (OSError, ValueError) as error:
        raise _out_of_reach(name, error) from error
    if config.model_type == "clip":
        config = config.vision_config
    if config.model_type != "clip_vision_model":
        raise UnsupportedModelError(
            f"the tower {name} is a {config.model_type!r} model; LLaVA-1.5 has CLIP's"
        )
    return config


def tower_weights(name: str, hub: Mapping[str, Any]) -> dict[str, Shaped[Tensor, "..."]]:
    """The tower's weights, from its folder or from the hub.

    Raises:
        UnsupportedModelError: they cannot be had.
    """
    from transformers import CLIPVisionModel

    try:
        found: Any = CLIPVisionModel.from_pretrained(name, output_loading_info=True, **hub)
    except (OSError, ValueError) as error:
        raise _out_of_reach(name, error) from error
    tower, report = found
    if report["missing_keys"]:
        raise UnsupportedModelError(
            f"the tower {name} lacks {', '.join(sorted(report['missing_keys'])[:6])}"
        )
    return tower.state_dict()


def _out_of_reach(name: str, error: Exception) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"the checkpoint needs the tower {name}, which is no folder and cannot be fetched from the "
        f"hub ({error}): fetch it elsewhere and pass vision_tower=FOLDER"
    )
