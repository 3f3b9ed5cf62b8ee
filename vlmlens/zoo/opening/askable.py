"""What can be asked for at all: a dtype that exists, a model that sees images."""

from pathlib import Path
from typing import Any

import torch

from vlmlens.checks import shown
from vlmlens.errors import InputError, UnsupportedModelError
from vlmlens.zoo.opening.unwired import refuse_unwired


def refuse_no_dtype(dtype: Any) -> None:
    """Refuse what is no floating-point type of torch's.

    Raises:
        InputError: says which there are.
    """
    kind = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    proper = isinstance(kind, torch.dtype) and kind.is_floating_point
    if dtype is not None and not (proper or (isinstance(dtype, str) and dtype == "auto")):
        raise InputError(f"dtype={shown(dtype)}; there is: auto, float32, bfloat16, float16")


def thinker(config: Any) -> Any:
    """The configuration of the part that sees and answers, of a checkpoint that also speaks."""
    return getattr(config, "thinker_config", config)


def as_part(config: Any) -> dict[str, Any]:
    """What is to be said for only that part to be opened."""
    return {"config": config} if config.model_type.endswith("_thinker") else {}


def refuse_no_vlm(model: str | Path, config: Any, own_code: bool) -> None:
    """Refuse what transformers does not open as image-text-to-text, unless its own code does.

    Args:
        model: what messages call it.
        config: its configuration.
        own_code: whether code that lies beside the weights may run.

    Raises:
        UnsupportedModelError: no vision-language model, or one that cannot be wired.
    """
    from transformers import AutoModelForImageTextToText

    refuse_unwired(str(model), config.model_type)
    known = type(config) in AutoModelForImageTextToText._model_mapping
    opens_itself = "AutoModelForImageTextToText" in (getattr(config, "auto_map", None) or {})
    if not known and not (own_code and opens_itself):
        raise UnsupportedModelError(
            f"{model} is a {config.model_type!r} model, which transformers does not open as "
            "image-text-to-text: it is no vision-language model"
        )
