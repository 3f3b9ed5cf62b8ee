"""What an image processor is told for one call, and what it is while it is told that."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from vlmlens.checks import flag, refuse_unknown, shown
from vlmlens.errors import InputError

#: What would make an image processor hand out something else than the model takes.
OURS = {
    "return_tensors": "tensors of torch are made",
    "device": "inputs go where the model is",
    "data_format": "the model reads channels first",
    "input_data_format": "pictures are opened as RGB",
}


#: What weights are made for, and patches are cut by.
OF_WEIGHTS = ("patch_size", "temporal_patch_size", "merge_size")
#: Older names for the ends of a size that counts pixels.
PIXELS = {"min_pixels": "shortest_edge", "max_pixels": "longest_edge"}
#: Options that are switched on or off.
SWITCH = "do_"


def images_told(given: Any, processor: Any, config: Any) -> dict[str, Any]:
    """What a user wrote for ``images_kwargs``, checked by name.

    Raises:
        InputError: what is no mapping, nothing that this image processor knows, or what the
            model's weights are not made for.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InputError(f"images_kwargs={shown(given)}: a mapping, {{'size': ...}}, is wanted")
    known = [name for name in _known(processor.image_processor) if name not in OURS]
    refuse_unknown(given, known, "images_kwargs", OURS)
    refuse_unfit(given, processor.image_processor, config, "images_kwargs")
    return sized(given, processor.image_processor)


def sized(told: Mapping[str, Any], taker: Any) -> dict[str, Any]:
    """Options in which numbers of pixels are ends of a size, as processors now want to be told.

    Args:
        told: options of a call, known by name.
        taker: the image or video processor, whose size holds where nothing else is told.
    """
    ends = {PIXELS[name]: told[name] for name in PIXELS if told.get(name) is not None}
    if not ends:
        return dict(told)
    size = as_mapping(told.get("size") or taker.size)
    return {name: x for name, x in told.items() if name not in PIXELS} | {"size": size | ends}


def as_mapping(size: Any) -> Any:
    """A size as it is written, of transformers' own kind of one; anything else as it is."""
    if not is_dataclass(size):
        return size
    found = {each.name: getattr(size, each.name) for each in fields(size)}
    return {name: x for name, x in found.items() if x is not None}


def refuse_unfit(told: Mapping[str, Any], taker: Any, config: Any, what: str) -> None:
    """Refuse patches of another size than the weights are made for, and switches that are none.

    How many patches are merged is the model's, too, where its configuration says it; where it does
    not, the tensors of every picture do.

    Args:
        told: options of a call, known by name.
        taker: the image or video processor.
        config: the model's.
        what: what the options are called.

    Raises:
        InputError: names the option, and what it has to be.
    """
    for name, value in told.items():
        if name.startswith(SWITCH) and value is not None:
            flag(value, f"{what}[{name!r}]")
    seen = getattr(config, "vision_config", None)
    for name in OF_WEIGHTS:
        merging = name == "merge_size" and not hasattr(seen, "spatial_merge_size")
        own = getattr(taker, name, None)
        if told.get(name, own) != own and told[name] is not None and not merging:
            raise InputError(
                f"{what}={{{name!r}: {shown(told[name])}}}: this model's weights are made for "
                f"{name}={own}, so leave it out. Pictures of more or fewer pixels make more or "
                "fewer patches: say a size"
            )


def with_options(processor: Any, told: Mapping[str, Any]) -> Any:
    """An image processor like this one that was made with what a call is told."""
    if not told:
        return processor
    own = {name: getattr(processor, name, None) for name in _known(processor)}
    # As it was written: constructors put sizes and numbers of pixels together.
    own = {name: as_mapping(x) for name, x in own.items()}
    try:
        return type(processor)(**{k: v for k, v in (own | dict(told)).items() if v is not None})
    except Exception as error:  # constructors raise whatever they stumble over
        raise InputError(f"the model's processor refuses {dict(told)}: {error}") from error


def _known(processor: Any) -> list[str]:
    return list(getattr(processor.valid_kwargs, "__annotations__", {}))
