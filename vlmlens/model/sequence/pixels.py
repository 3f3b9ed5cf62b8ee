"""What an image processor is told for one call, and what it is while it is told that."""

from collections.abc import Mapping
from typing import Any

from vlmlens.checks import flag, refuse_unknown, shown
from vlmlens.errors import InputError
from vlmlens.model.sequence.settings import as_mapping, settings_of
from vlmlens.model.sequence.unread import refuse_unread

#: What would make an image processor hand out something else than the model takes.
OURS = {
    "return_tensors": "tensors of torch are made",
    "device": "inputs go where the model is",
    "data_format": "the model reads channels first",
    "input_data_format": "pictures are opened as RGB",
    "return_legacy_image_output": "the model's inputs have the names that it takes",
    "return_row_col_info": "the processor asks for it itself, and writes the rows and columns",
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
    known = [name for name in settings_of(processor.image_processor) if name not in OURS]
    refuse_unknown(given, known, "images_kwargs", OURS)
    refuse_unfit(given, processor.image_processor, config, "images_kwargs")
    told = sized(given, processor.image_processor)
    refuse_unread(told, processor.image_processor, "images_kwargs")
    return told


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
    own = settings_of(processor)  # as written: constructors put sizes and numbers together
    try:
        return type(processor)(**{k: v for k, v in (own | dict(told)).items() if v is not None})
    except Exception as error:  # constructors raise whatever they stumble over
        raise InputError(f"the model's processor refuses {dict(told)}: {error}") from error
