"""A copy of a LLaVA with something added, and the processor that fits it."""

from copy import copy
from typing import Any

from transformers import AutoModelForImageTextToText, LlavaForConditionalGeneration
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from vlmlens.errors import UnsupportedModelError

#: Model types of our own, which are opened once ``vlmlens.zoo.variants`` is imported.
PLAIN = "vlmlens_llava"
GRID = "vlmlens_llava_grid"


def refuse_others(model: Any) -> None:
    """Refuse what is no LLaVA.

    Raises:
        UnsupportedModelError: saying what it is, and what to pass.
    """
    if not isinstance(model, LlavaForConditionalGeneration):
        advice = ": pass model.hf_model" if hasattr(model, "hf_model") else ""
        raise UnsupportedModelError(
            f"variants are made of LlavaForConditionalGeneration, not of {type(model).__name__}"
            + advice
        )


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
    refuse_others(model)
    own = model.config.model_type
    kind = model_type or (own if own in (PLAIN, GRID) else PLAIN)
    settings = model.config.to_dict()
    for stale in ("model_type", "architectures", "transformers_version"):
        settings.pop(stale, None)
    config = CONFIG_MAPPING[kind].from_dict(settings | fields)
    new = AutoModelForImageTextToText.from_config(config, dtype=model.dtype).to(model.device)
    shapes = {name: tensor.shape for name, tensor in new.state_dict().items()}
    kept = {n: t for n, t in model.state_dict().items() if shapes.get(n) == t.shape}
    new.load_state_dict(kept, strict=False)
    new.generation_config = type(model.generation_config).from_dict(
        model.generation_config.to_dict()
    )
    return new.train(model.training)


def processor_for(model: Any, processor: Any) -> Any:
    """The processor that writes as many placeholders as the model has tokens for an image.

    Pooling and registers change that number. A processor that does not fit is not used in
    silence: the model refuses what it makes.

    Args:
        model: a variant.
        processor: LLaVA's, of the model that the variant was made from; it stays as it is.

    Returns:
        A copy that fits.

    Raises:
        UnsupportedModelError: a model that is no variant.

    Examples:
        >>> from vlmlens.zoo import tiny, variants
        >>> hf_model, processor = tiny.build("llava")
        >>> pooled = variants.pool(hf_model, 2)
        >>> fitting = variants.processor_for(pooled, processor)
        >>> vl.HookedVLM(pooled, fitting).inputs(sample).layouts[0].roles.count("vision")
        4
    """
    config = model.config
    if config.model_type not in (PLAIN, GRID):
        raise UnsupportedModelError(
            f"{type(model).__name__} is no variant: its own processor fits it as it is"
        )
    fitting = copy(processor)
    # Of a picture as one patch, the processor makes one placeholder and the additional ones.
    fitting.patch_size = config.vision_config.image_size
    dropped = processor.vision_feature_select_strategy == "default"
    fitting.num_additional_image_tokens = config.grid_side**2 + config.registers - 1 + dropped
    return fitting
