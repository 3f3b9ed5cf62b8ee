"""What a checkpoint's settings say, held against its weights."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vlmlens.errors import UnsupportedModelError

#: Settings that have to be one of these; None is also what is not said.
FIXED: Mapping[str, tuple[Any, ...]] = {
    "mm_projector_type": ("mlp2x_gelu",),
    "mm_vision_select_feature": ("patch", None),
    "mm_use_im_start_end": (False, None),
    "mm_use_im_patch_token": (False, None),
    "mm_resampler_type": (None,),
    "mm_patch_merge_type": ("flat", None),
    "image_aspect_ratio": ("pad", "square", None),
}

#: Settings that say how the model was trained, or what the two flags of the paper are for.
HARMLESS = (
    "mm_vision_tower|mm_hidden_size|mm_vision_select_layer|mm_projector_lr|mm_vision_tower_lr|"
    "use_mm_proj|use_cache|mm_tunable_parts|normalize_projector|use_multilayer_features"
)

#: What the name of a setting looks like that changes the vision tokens.
SUSPECT = re.compile(
    r"(mm|use)_.*|.*(normali[sz]|multi_?layer|pool|register|coord|rope_?2d|2d_?rope).*", re.I
)


def is_original(config: Any) -> bool:
    """Whether what a ``config.json`` holds, whatever it is, is of LLaVA's own code.

    Examples:
        >>> from vlmlens.zoo.opening.original_llava import is_original
        >>> is_original({"model_type": "llava", "mm_vision_tower": "openai/clip-vit-large-patch14"})
        True
        >>> is_original({"model_type": "llava", "vision_config": {}})
        False
    """
    return config.get("model_type") == "llava_llama" or (
        "mm_vision_tower" in config and "vision_config" not in config
    )


def settings_of(folder: Path) -> dict[str, Any]:
    """``config.json``, where nothing in it is other than LLaVA-1.5's.

    Raises:
        UnsupportedModelError: no such file, or none that holds settings; a setting of another
            model, or one that is not known and may matter.
    """
    try:
        given = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnsupportedModelError(
            f"{folder} has no config.json that can be read ({error}): pass the folder of a "
            "checkpoint in the layout of LLaVA's own code, with its config.json"
        ) from error
    if not isinstance(given, dict):
        raise UnsupportedModelError(f"{folder}: config.json holds no settings, but {given!r:.60}")
    built = ", ".join(given.get("architectures") or ())
    if "Llama" not in built and given.get("model_type") != "llava_llama":
        raise UnsupportedModelError(
            f"{folder} is built as {built or given.get('model_type')}; of "
            "the original layout, LLaVA on Llama (Vicuna) opens here"
        )
    for name, allowed in FIXED.items():
        if given.get(name) not in allowed:
            raise UnsupportedModelError(
                f"{folder}: {name}={given.get(name)!r} in config.json; what opens here has "
                f"{' or '.join(map(repr, allowed))}"
            )
    known = re.compile(f"{'|'.join(FIXED)}|{HARMLESS}")
    for name, value in given.items():
        if value and SUSPECT.fullmatch(name) and not known.fullmatch(name):
            raise UnsupportedModelError(
                f"{folder}: config.json sets {name}={value!r}, which may change the vision tokens "
                "in a way that is not known here; if it does not, take it out of config.json"
            )
    return given


def is_normalized(settings: Mapping[str, Any], names: Iterable[str]) -> bool:
    """Whether the projector is +Normalize's, by the names of its weights.

    Raises:
        UnsupportedModelError: half of it is, or the flag says otherwise.
    """
    names = set(names)
    nested = any(name.startswith("model.mm_projector.projector.") for name in names)
    normed = "model.mm_projector.norm.weight" in names
    if nested != normed:
        raise UnsupportedModelError(
            "a normalised projector has model.mm_projector.projector.* and "
            "model.mm_projector.norm.weight, and this one has only one of the two"
        )
    agree(settings, "normalize_projector", normed, "the projector's weights")
    return normed


def agree(settings: Mapping[str, Any], flag: str, found: bool, where: str) -> None:
    """Refuse a flag that says other than the weights."""
    if flag in settings and bool(settings[flag]) != found:
        raise UnsupportedModelError(
            f"config.json says {flag}={settings[flag]!r}, but {where} say {found}"
        )
