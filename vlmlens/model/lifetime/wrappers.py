"""What others put around a model: looked through where the model inside computes the same."""

from typing import Any

import torch

from vlmlens.errors import UnsupportedModelError


def unwrapped(model: Any) -> Any:
    """The model in which every module is where transformers put it.

    Of what peft returns the model inside, whose adapters stay as they are: on, off or merged. Any
    other object is returned as it is.

    Raises:
        UnsupportedModelError: what ``torch.compile`` returned; adapters that are tokens before the
            prompt, which are in no module. Says what to open instead.
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
        if inside is None or _before_the_prompt(model):
            raise UnsupportedModelError(
                f"{type(model).__name__} of peft with {_kinds(model)}: it puts what it learned "
                "before the prompt, and not into modules, so the model inside computes something "
                "else. Adapters in modules open as they are: LoRA, DoRA, IA3, ..."
            )
        model = inside
    return model


def _is_of_peft(model: Any) -> bool:
    return type(model).__module__.partition(".")[0] == "peft"


def _before_the_prompt(model: Any) -> bool:
    settings = getattr(model, "peft_config", {})
    return any(getattr(each, "is_prompt_learning", False) for each in dict(settings).values())


def _kinds(model: Any) -> str:
    settings = dict(getattr(model, "peft_config", {})).values()
    return ", ".join(sorted({str(getattr(each, "peft_type", "?")) for each in settings}))
