"""What others put around a model: looked through where the model inside computes the same."""

from typing import Any

import torch

from vlmlens.errors import UnsupportedModelError
from vlmlens.zoo.opening.adapters import outside_modules


def unwrapped(model: Any) -> Any:
    """The model in which every module is where transformers put it.

    Of what peft returns the model inside, whose adapters stay as they are: on, off or merged. Any
    other object is returned as it is.

    Raises:
        UnsupportedModelError: what ``torch.compile`` returned; adapters that do not lie in
            modules alone, such as tokens before the prompt. Says what to open instead.
    """
    if isinstance(model, torch.nn.Module) and "_orig_mod" in model._modules:
        raise UnsupportedModelError(
            "this is what torch.compile(model) returned: open the model itself, and compile its "
            "language model in place, model.model.language_model.compile(); watched passes step "
            "out of it"
        )
    while _is_of_peft(model):
        parts = vars(model)["_modules"]
        inside = parts.get("base_model", parts.get("model"))
        settings = dict(getattr(model, "peft_config", {})).values()
        why = "; ".join(dict.fromkeys(filter(None, map(outside_modules, settings))))
        if inside is None or why:
            raise UnsupportedModelError(
                f"{type(model).__name__} of peft: {why or 'it holds no model'}, so the model "
                "inside computes something else. Adapters that lie in modules alone open as they "
                "are: LoRA, DoRA, IA3, ..."
            )
        model = inside
    return model


def _is_of_peft(model: Any) -> bool:
    return type(model).__module__.partition(".")[0] == "peft"
