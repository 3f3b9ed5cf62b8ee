"""What an image or a video processor is set to."""

from dataclasses import fields, is_dataclass
from typing import Any


def as_mapping(size: Any) -> Any:
    """A size as it is written, of transformers' own kind of one; anything else as it is."""
    if not is_dataclass(size):
        return size
    found = {each.name: getattr(size, each.name) for each in fields(size)}
    return {name: x for name, x in found.items() if x is not None}


def settings_of(taker: Any) -> dict[str, Any]:
    """Every option that a processor knows, and what it is where nobody tells it."""
    names = getattr(taker.valid_kwargs, "__annotations__", {})
    return {name: as_mapping(getattr(taker, name, None)) for name in names}
