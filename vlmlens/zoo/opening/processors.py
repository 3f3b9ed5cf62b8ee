"""A model's processor, also where torchvision is missing: pictures and videos need pillow only.

Several processors insist on a video processor, which needs torchvision, before they look at a
picture. Without torchvision they are opened without it: everything about pictures is theirs. Of
the families that are shown videos here, one that resizes with pillow stands in its place.
"""

import sys
from importlib import import_module
from inspect import Parameter, signature
from types import FunctionType, SimpleNamespace
from typing import Any

from vlmlens.errors import UnsupportedModelError
from vlmlens.extras import naming_extra
from vlmlens.zoo.opening.frames import frames_class

#: Processor classes of model types that transformers' list lacks.
OWN = {
    "vlmlens_llava": "LlavaProcessor",
    "vlmlens_llava_grid": "LlavaProcessor",
    "glm_ocr": "Glm46VProcessor",
    "glmga": "Glm46VProcessor",
    "qwen2_5_omni_thinker": "Qwen2_5OmniProcessor",
    "qwen3_omni_moe_thinker": "Qwen3OmniMoeProcessor",
}


def open_processor(name: str, model_type: str, **hub: Any) -> Any:
    """The processor of a folder or hub id, with or without torchvision.

    Raises:
        UnsupportedModelError: transformers knows no processor of this model type.
        MissingToolError: it needs a library that only an extra brings, as SmolVLM's does.
    """
    from transformers import AutoProcessor

    with naming_extra(f"the processor of {name}"):
        try:
            return AutoProcessor.from_pretrained(name, **hub)
        except (ImportError, OSError) as error:
            said = str(error).lower()
            if "torchvision" not in said and "video processor" not in said:
                raise
            made = stills(model_type).from_pretrained(name, **hub)
            if (frames := frames_class(model_type)) is not None:
                try:
                    made.video_processor = frames.from_pretrained(name, **hub)
                except OSError as error:
                    # Saved without one: pictures go, videos are refused. A hub that fails says so.
                    if "a directory containing" not in str(error):
                        raise
            return made


def stills(model_type: str) -> Any:
    """A model type's processor class that takes pictures and no videos.

    Raises:
        UnsupportedModelError: transformers knows no processor of this model type.
    """
    from transformers import ProcessorMixin

    if model_type not in _names():
        raise UnsupportedModelError(f"transformers has no processor for {model_type!r}")
    whole = _class(_names()[model_type], model_type)
    if "video_processor" not in whole.get_attributes():
        return whole

    class NoVideos(ProcessorMixin):
        def __init__(self, *parts: Any, **named: Any):
            named |= dict(zip(whole.get_attributes(), parts, strict=False))
            named.pop("video_processor", None)
            super().__init__(**named)

    class Stills(whole, NoVideos):
        # What SmolVLM and ERNIE 4.5 VL read of it.
        video_processor = SimpleNamespace(num_frames=None, fps=None, font="")

        @classmethod
        def get_attributes(cls) -> list[str]:
            return [name for name in whole.get_attributes() if name != "video_processor"]

        @classmethod
        def from_args_and_dict(cls, args: Any, *rest: Any, **named: Any) -> Any:
            parts = dict(zip(cls.get_attributes(), args, strict=False))
            placed = [parts.get(name) for name in whole.get_attributes()]
            return super().from_args_and_dict(placed, *rest, **named)

    Stills.__name__ = whole.__name__  # what is saved names transformers' own class
    if signature(whole.__init__).parameters["video_processor"].default is Parameter.empty:
        Stills.__init__ = _without_video(whole.__init__)
    return Stills


def _without_video(init: Any) -> Any:
    """The same ``__init__``, but for a video processor that may be left out.

    Not a wrapper: transformers reads the names of arguments off the code itself.
    """
    code, given = init.__code__, init.__defaults__ or ()
    own = FunctionType(code, init.__globals__, init.__name__, (None, *given), init.__closure__)
    own.__kwdefaults__ = init.__kwdefaults__
    return own


def _class(name: str, model_type: str) -> Any:
    """A processor class by its name, also one that transformers hides without torchvision."""
    for folder in (model_type, *_folders(name)):
        try:
            module = _module(folder)
        except ModuleNotFoundError:
            continue
        if hasattr(module, name):
            return getattr(module, name)
    raise UnsupportedModelError(f"{name} is not where transformers keeps processors")


def _module(folder: str) -> Any:
    """A family's processing module; its pillow image processor stands in for torchvision's."""
    home = f"transformers.models.{folder}"
    try:
        return import_module(f"{home}.processing_{folder}")
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("torchvision"):
            raise
    usual = f"{home}.image_processing_{folder}"
    sys.modules[usual] = import_module(f"{home}.image_processing_pil_{folder}")
    try:
        return import_module(f"{home}.processing_{folder}")
    finally:
        del sys.modules[usual]


def _folders(name: str) -> list[str]:
    """Other model types whose processor has this name: families share them."""
    sharing = [kind for kind, other in _names().items() if other == name]
    return [*sharing, name.removesuffix("Processor").lower()]


def _names() -> dict[str, str]:
    """Processor classes by model type, as transformers lists them, and of our own types."""
    listed = import_module("transformers.models.auto.processing_auto").PROCESSOR_MAPPING_NAMES
    return dict(listed) | OWN
