"""A copy of a LLaVA with something added."""

from typing import Any

import torch
from transformers import AutoModelForImageTextToText, LlavaForConditionalGeneration
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from vlmlens.errors import UnsupportedModelError

#: Model types of our own, which are opened once ``vlmlens.zoo.variants`` is imported.
PLAIN = "vlmlens_llava"


def extended(model: Any, model_type: str = "", **fields: Any) -> Any:
    """A copy of a model as a variant, with fields of its configuration set.

    Weights that both have in the same shape are the model's; the others are what transformers
    begins with.

    Args:
        model: a LLaVA, or a variant; it stays as it is.
        model_type: of the copy; by default the model's own if it is a variant.
        fields: of ``LlavaVariantConfig``.

    Raises:
        UnsupportedModelError: a model that is no LLaVA.
    """
    if not isinstance(model, LlavaForConditionalGeneration):
        advice = ": pass model.hf_model" if hasattr(model, "hf_model") else ""
        raise UnsupportedModelError(
            f"variants are made of LlavaForConditionalGeneration, not of {type(model).__name__}"
            + advice
        )
    own = model.config.model_type
    kind = model_type or (own if own.startswith(PLAIN) else PLAIN)
    settings = model.config.to_dict()
    for stale in ("model_type", "architectures", "transformers_version"):
        settings.pop(stale, None)
    config = CONFIG_MAPPING[kind].from_dict(settings | fields)
    new = AutoModelForImageTextToText.from_config(config, dtype=model.dtype).to(model.device)
    shapes = {name: tensor.shape for name, tensor in new.state_dict().items()}
    kept = {n: t for n, t in model.state_dict().items() if shapes.get(n) == t.shape}
    with torch.no_grad():
        new.load_state_dict(kept, strict=False)
    new.generation_config = type(model.generation_config).from_dict(
        model.generation_config.to_dict()
    )
    return new.train(model.training)
