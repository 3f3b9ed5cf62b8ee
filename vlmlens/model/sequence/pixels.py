"""What an image processor is told for one call, and what it is while it is told that."""

from collections.abc import Mapping
from typing import Any

from vlmlens.checks import refuse_unknown, shown
from vlmlens.errors import InputError

#: What would make an image processor hand out something else than the model takes.
OURS = {
    "return_tensors": "tensors of torch are made",
    "device": "inputs go where the model is",
    "data_format": "the model reads channels first",
    "input_data_format": "pictures are opened as RGB",
}


def images_told(given: Any, processor: Any) -> dict[str, Any]:
    """What a user wrote for ``images_kwargs``, checked by name.

    Raises:
        InputError: what is no mapping, or nothing that this image processor knows.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InputError(f"images_kwargs={shown(given)}: a mapping, {{'size': ...}}, is wanted")
    known = [name for name in _known(processor.image_processor) if name not in OURS]
    refuse_unknown(given, known, "images_kwargs", OURS)
    return dict(given)


def with_options(processor: Any, told: Mapping[str, Any]) -> Any:
    """An image processor like this one that was made with what a call is told."""
    if not told:
        return processor
    own = {name: getattr(processor, name, None) for name in _known(processor)}
    return type(processor)(**{k: v for k, v in (own | dict(told)).items() if v is not None})


def _known(processor: Any) -> list[str]:
    return list(getattr(processor.valid_kwargs, "__annotations__", {}))
