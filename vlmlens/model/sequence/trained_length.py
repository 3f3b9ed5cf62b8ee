"""How many positions a model was trained on, and a warning for what goes beyond."""

import warnings
from collections.abc import Mapping
from typing import Any

from vlmlens.errors import BeyondTrainingWarning

#: Kinds of scaled RoPE that reach ``factor`` times as far as without; others tell their full reach.
STRETCHED = ("dynamic", "yarn")


def trained_positions(config: Any) -> int | None:
    """The positions that a model's language model reaches, scaled RoPE included.

    ``max_position_embeddings``; with dynamic NTK or YaRN the ``factor`` times the original number,
    if that is more. None where the configuration does not tell.
    """
    text = config.get_text_config()
    trained = getattr(text, "max_position_embeddings", None)
    if not trained:
        return None
    scaled = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    every = scaled.values() if all(isinstance(v, Mapping) for v in scaled.values()) else [scaled]
    reach = trained
    for one in every:
        if one.get("rope_type", one.get("type")) in STRETCHED:
            original = one.get("original_max_position_embeddings") or trained
            reach = max(reach, int(original * (one.get("factor") or 1)))
    return reach


def warn_beyond(config: Any, layouts: Any, position_ids: Any, step: int = 0) -> None:
    """Warn where a sample has more positions than the model was trained on.

    Positions are what RoPE rotates by: an image's tokens may share some. A step of decoding after
    the first adds one; the one that goes beyond is warned of, and none that comes later.
    """
    most = trained_positions(config)
    longest = max((len(layout) - layout.roles.count("pad") for layout in layouts), default=0)
    if most is None or longest <= most:
        return
    if position_ids.device.type == "meta":
        return
    apart = position_ids.amax(-1) - position_ids.amin(-1) + 1
    reach = int(apart.max())
    if reach > most and (step == 0 or reach == most + 1):
        warnings.warn(
            f"a sample has {reach} positions ({longest} tokens), and the model was trained on "
            f"{most}: what it says beyond them need not mean anything. Shorten the prompt, give "
            "fewer or smaller images, or take a checkpoint whose RoPE is scaled",
            BeyondTrainingWarning,
            stacklevel=2,
        )
