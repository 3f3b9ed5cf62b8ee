"""Adapters as peft saves them: a folder with the few weights that were trained, and no model."""

import json
import warnings
from pathlib import Path
from typing import Any

from vlmlens.errors import UnsupportedModelError
from vlmlens.extras import require
from vlmlens.zoo.opening.whole import listed

SETTINGS = "adapter_config.json"
#: What a folder has that brings a processor of its own.
PROCESSOR = ("processor_config.json", "preprocessor_config.json")
#: What there is to fetch of an adapter on the hub.
WANTED = ("*.json", "*.safetensors", "*.bin", "*.jinja", "*.txt", "*.model")


def base_of(folder: Path) -> str:
    """The model that an adapter was trained on; "" where a folder holds no adapter alone.

    Raises:
        UnsupportedModelError: its settings are no settings, or do not say which model.
    """
    file = folder / SETTINGS
    if not file.is_file() or (folder / "config.json").is_file():
        return ""
    try:
        told = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise UnsupportedModelError(f"{file} does not open: {error}") from error
    base = told.get("base_model_name_or_path") if isinstance(told, dict) else None
    if not isinstance(base, str) or not base:
        raise UnsupportedModelError(
            f"{file} does not say which model it belongs to (base_model_name_or_path): write the "
            "name in, or put it on yourself: "
            "HookedVLM(PeftModel.from_pretrained(hf_model, folder), processor)"
        )
    return base


def base_revision(folder: Path) -> dict[str, str]:
    """The option that opens the base at the revision that the adapter names, where it does."""
    told = json.loads((folder / SETTINGS).read_text()).get("revision")
    return {"revision": told} if isinstance(told, str) and told else {}


def outside_modules(settings: Any) -> str:
    """Why the model inside would compute something else than peft's wrapper; "" where it does not.

    Args:
        settings: of one adapter, peft's.
    """
    if getattr(settings, "is_prompt_learning", False):
        return "it is tokens before the prompt"
    if getattr(settings, "alora_invocation_tokens", None):
        return "its wrapper looks for the tokens that switch it on (an activated LoRA)"
    if "XLORA" in str(getattr(settings, "peft_type", "")):
        return "its wrapper weighs several adapters anew at every pass"
    return ""


def own_processor(folder: Path) -> bool:
    """Whether the adapter was saved with a processor beside it."""
    return any((folder / name).is_file() for name in PROCESSOR)


def put_on(opened: Any, folder: Path, name: str) -> Any:
    """The model with an adapter on, not merged; every weight of the adapter must find its place.

    Args:
        opened: the model that it was trained on, as transformers opens it.
        folder: the adapter's.
        name: what messages call it.

    Raises:
        MissingToolError: peft is not installed.
        UnsupportedModelError: an adapter that is tokens before the prompt; one that is broken, or
            was trained on other modules than this model has.

    Source: Hu et al. 2021, "LoRA", arXiv:2106.09685.
    """
    require("peft", f"the adapter {name}")
    from peft import PeftConfig
    from safetensors import SafetensorError

    try:
        settings = PeftConfig.from_pretrained(str(folder))
        if why := outside_modules(settings):
            raise UnsupportedModelError(
                f"{name} is an adapter of kind {getattr(settings.peft_type, 'value', '?')}: {why}; "
                "adapters that lie in modules alone open: LoRA, DoRA, IA3, ..."
            )
        wrapped, report = _wrapped(opened, folder, settings)
    except (
        *(OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError),
        SafetensorError,
    ) as error:
        raise UnsupportedModelError(
            f"the adapter {name} does not go on {type(opened).__name__}: {error}"
        ) from error
    for what, keys in (
        ("lacks the weights", report.missing_keys),
        ("holds weights that this model has no place for", report.unexpected_keys),
    ):
        if keys:
            raise UnsupportedModelError(
                f"the adapter {name} {what} {listed(sorted(keys))}: peft would go on without them. "
                "Adapters of older versions of transformers name modules as these did: merge it "
                "with the versions that it was trained with (merge_and_unload, save_pretrained), "
                "and open the result"
            )
    return wrapped.base_model.model.eval()


def _wrapped(opened: Any, folder: Path, settings: Any) -> tuple[Any, Any]:
    """What peft makes of both, and what it says of weights that found no place."""
    from peft import PeftModel

    settings.inference_mode = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # between peft and transformers
        wrapped = PeftModel(opened, settings, "default")
        return wrapped, wrapped.load_adapter(str(folder), "default")
