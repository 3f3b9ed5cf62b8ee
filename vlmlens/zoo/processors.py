"""A model's processor, also where torchvision is missing: pictures need pillow only.

Several processors insist on a video processor, which needs torchvision, before they look at a
picture. Without torchvision they are opened without it: everything about pictures is theirs.
"""

import sys
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from vlmlens.errors import UnsupportedModelError


def open_processor(name: str, model_type: str, **hub: Any) -> Any:
    """The processor of a folder or hub id, with or without torchvision.

    Raises:
        UnsupportedModelError: transformers knows no processor of this model type.
    """
    from transformers import AutoProcessor

    try:
        return AutoProcessor.from_pretrained(name, **hub)
    except ImportError as error:
        if "torchvision" not in str(error).lower():
            raise
        return stills(model_type).from_pretrained(name, **hub)


def stills(model_type: str) -> Any:
    """A model type's processor class that takes pictures and no videos.

    Raises:
        UnsupportedModelError: transformers knows no processor of this model type.
    """
    from transformers import ProcessorMixin
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    if model_type not in PROCESSOR_MAPPING_NAMES:
        raise UnsupportedModelError(f"transformers has no processor for {model_type!r}")
    whole = _class(PROCESSOR_MAPPING_NAMES[model_type], model_type)
    if "video_processor" not in whole.get_attributes():
        return whole

    class NoVideos(ProcessorMixin):
        def __init__(self, *parts: Any, **named: Any):
            named.pop("video_processor", None)
            super().__init__(*parts, **named)

    class Stills(whole, NoVideos):
        video_processor = SimpleNamespace(num_frames=None, fps=None)  # SmolVLM reads these

        def __init__(self, *parts: Any, **options: Any):
            named = dict(zip(self.get_attributes(), parts, strict=False))
            super().__init__(**named, video_processor=None, **options)

        @classmethod
        def get_attributes(cls) -> list[str]:
            return [name for name in whole.get_attributes() if name != "video_processor"]

    Stills.__name__ = whole.__name__  # what is saved names transformers' own class
    return Stills


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
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    sharing = [kind for kind, other in PROCESSOR_MAPPING_NAMES.items() if other == name]
    return [*sharing, name.removesuffix("Processor").lower()]
