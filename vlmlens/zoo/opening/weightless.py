"""A model without its weights: what its configuration says, on torch's meta device.

Parameters have shapes and no numbers, and take no memory. What no checkpoint holds, RoPE's
frequencies above all, is computed as transformers computes it, so that positions rotate.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from vlmlens.errors import UnknownModelError, UnsupportedModelError


def configured(model_type: str, settings: Mapping[str, Any]) -> Any:
    """The configuration of an architecture, as transformers has it by default but for settings.

    Raises:
        UnknownModelError: transformers knows no such architecture.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    import vlmlens.zoo.variants  # noqa: F401  model types of our own

    if model_type not in CONFIG_MAPPING:
        raise UnknownModelError(model_type, list(CONFIG_MAPPING), "(architectures)")
    return CONFIG_MAPPING[model_type](**settings)


def weightless(name: str, config: Any, dtype: Any = None) -> Any:
    """The model that a configuration describes, without its weights.

    Args:
        name: what messages call it.
        config: of transformers.
        dtype: of the weights that it does not have, a ``torch.dtype``; by default what the
            configuration says, or torch's own.

    Raises:
        UnsupportedModelError: transformers makes no model of it.
    """
    import torch
    from transformers import AutoModelForImageTextToText

    import vlmlens.zoo.variants  # noqa: F401  model types of our own

    kind = dtype or getattr(config, "dtype", None) or torch.get_default_dtype()
    try:
        with torch.device("meta"):
            own = deepcopy(config)  # an open model may hold it
            model = AutoModelForImageTextToText.from_config(own, dtype=kind).eval()
    except (ValueError, TypeError, AttributeError, KeyError, RuntimeError, ImportError) as error:
        raise UnsupportedModelError(
            f"transformers makes no model of {name}'s configuration: {error}"
        ) from error
    with torch.no_grad():
        for module in model.modules():
            computed = module._non_persistent_buffers_set
            if not computed:
                continue
            for buffer in computed:
                if module._buffers[buffer] is not None:
                    empty = torch.empty_like(module._buffers[buffer], device="cpu")
                    module._buffers[buffer] = empty
            model._init_weights(module)
    return model
