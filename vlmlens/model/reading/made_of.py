"""What a model's weights are, in words: their dtype, how they are quantised, which adapters act."""

from collections import Counter
from typing import Any


def in_words(hf_model: Any) -> str:
    """The dtype, and what else decides over the numbers that weights stand for.

    Examples:
        >>> from vlmlens.model.reading.made_of import in_words
        >>> in_words(model.hf_model)
        'float32'
    """
    kind = str(hf_model.dtype).removeprefix("torch.")
    return ", ".join([kind, *_quantised(hf_model.config), *_acting(hf_model)])


def _quantised(config: Any) -> list[str]:
    settings = getattr(config, "quantization_config", None)
    if settings is None:
        return []
    told = settings if isinstance(settings, dict) else settings.to_dict()
    method = told.get("quant_method", "an unknown method")
    method = getattr(method, "value", method)
    bits = next((f" {n}-bit" for n in (4, 8) if told.get(f"load_in_{n}bit")), "")
    if not bits and told.get("bits"):
        bits = f" {told['bits']}-bit"
    return [f"quantised by {method}{bits}"]


def _acting(hf_model: Any) -> list[str]:
    """The adapters of peft's that act, and on how many modules: ``adapter math on 12 modules``."""
    found: Counter[str] = Counter()
    for module in hf_model.modules():
        if not type(module).__module__.startswith("peft."):
            continue
        merged = list(getattr(module, "merged_adapters", []))
        on = [] if getattr(module, "disable_adapters", False) else _chosen(module)
        for name in dict.fromkeys([*merged, *on]):
            found[f"{name}{' (merged)' if name in merged else ''}"] += 1
    return [f"adapter {name} on {count} modules" for name, count in sorted(found.items())]


def _chosen(module: Any) -> list[str]:
    """The adapters that are chosen and that this module has."""
    chosen = getattr(module, "active_adapters", [])
    chosen = [chosen] if isinstance(chosen, str) else list(chosen)
    inside = {
        key
        for part in (*getattr(module, "adapter_layer_names", ()), "modules_to_save")
        for key in _keys(module, part)
    }
    return [name for name in chosen if name in inside]


def _keys(module: Any, part: str) -> list[str]:
    held = getattr(module, part, {})
    return list(held.keys()) if hasattr(held, "keys") else []
