"""Video processors with pillow, where torchvision is missing: transformers' own in all but pixels.

How frames are chosen, stacked, cut into patches and counted is the checkpoint's own code. Resizing,
cropping and normalizing, for which it calls torchvision, is done here: with pillow, frame by frame.
"""

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from PIL import Image
from torch import Tensor

#: The video processors of the families that vlmlens shows videos to, by model type: the folder of
#: transformers that each lies in, and its name.
PROCESSORS = {
    "qwen2_vl": ("qwen2_vl", "Qwen2VLVideoProcessor"),
    "qwen2_5_vl": ("qwen2_vl", "Qwen2VLVideoProcessor"),
    "qwen3_vl": ("qwen3_vl", "Qwen3VLVideoProcessor"),
    "qwen3_vl_moe": ("qwen3_vl", "Qwen3VLVideoProcessor"),
    "qwen3_5": ("qwen3_vl", "Qwen3VLVideoProcessor"),
    "qwen3_5_moe": ("qwen3_vl", "Qwen3VLVideoProcessor"),
    "qwen2_5_omni_thinker": ("qwen2_vl", "Qwen2VLVideoProcessor"),
    "qwen3_omni_moe_thinker": ("qwen2_vl", "Qwen2VLVideoProcessor"),
    "exaone4_5": ("qwen2_vl", "Qwen2VLVideoProcessor"),
    "hyperclovax_vision_v2": ("qwen2_vl", "Qwen2VLVideoProcessor"),
    "cohere_compass": ("cohere_compass", "CohereCompassVideoProcessor"),
    "cosmos3_edge": ("cosmos3_edge", "Cosmos3EdgeVideoProcessor"),
    "glm4v": ("glm4v", "Glm4vVideoProcessor"),
    "glm4v_moe": ("glm4v", "Glm4vVideoProcessor"),
    "glm46v": ("glm46v", "Glm46VVideoProcessor"),
    "glm_ocr": ("glm46v", "Glm46VVideoProcessor"),
    "glmga": ("glmga", "GlmgaVideoProcessor"),
    "llava_onevision": ("llava_onevision", "LlavaOnevisionVideoProcessor"),
    "llava_next_video": ("llava_next_video", "LlavaNextVideoVideoProcessor"),
    "smolvlm": ("smolvlm", "SmolVLMVideoProcessor"),
    "internvl": ("internvl", "InternVLVideoProcessor"),
    "ernie4_5_vl_moe": ("ernie4_5_vl_moe", "Ernie4_5_VLMoeVideoProcessor"),
    "gemma4": ("gemma4", "Gemma4VideoProcessor"),
    "molmo2": ("molmo2", "Molmo2VideoProcessor"),
    "video_llama_3": ("video_llama_3", "VideoLlama3VideoProcessor"),
    "video_llava": ("video_llava", "VideoLlavaVideoProcessor"),
}
#: What transformers imports of torchvision at the top of some of these files, and calls nowhere.
UNUSED = ("", ".transforms", ".transforms.v2", ".transforms.v2.functional")
#: What ERNIE 4.5 VL calls, to write a frame's time into it.
DRAWING = ".transforms.functional"


def frames_class(model_type: str) -> Any:
    """A model type's video processor, which resizes with pillow; None where it takes no videos."""
    if model_type not in PROCESSORS:
        return None
    folder, name = PROCESSORS[model_type]
    home = _module(f"transformers.models.{folder}.video_processing_{folder}")
    own: Any = getattr(home, name)
    fitted: Any = getattr(home, "get_aspect_ratio_preserving_size", None)
    room: Any = import_module("transformers.image_utils").SizeDict

    class Frames(own, pillow()):
        def convert_to_rgb(self, video: Any) -> Any:
            """Frames are opened in RGB."""
            return video

        def aspect_ratio_preserving_resize(self, video: Any, resample: Any, **by: Any) -> Any:
            """Gemma 4's, which calls torchvision here and not where others do."""
            height, width = video.shape[-2:]
            height, width = fitted(height=height, width=width, **by)
            return self.resize(video, room(height=height, width=width), resample)

    Frames.__name__ = name  # what is saved names transformers' own class
    return Frames


def pillow() -> Any:
    """What a processor of videos or pictures calls torchvision for, without it."""
    base: Any = import_module("transformers.image_processing_backends").TorchvisionBackend

    class Pillow(base):
        backend = "pil"

        def resize(
            self,
            image: Shaped[Tensor, "..."],
            size: Any,
            resample: Any = None,
            antialias: bool = True,
            **_: Any,
        ) -> Shaped[Tensor, "..."]:
            """Frames (..., channel row column) of bytes, each resized as a picture is.

            Molmo 2 wants numbers, and no smoothing, which pillow always does: torch does that.
            """
            height, width = _wanted(image, size)
            if image.shape[-2:] == (height, width):
                return image
            if not antialias:
                how = Image.Resampling(resample).name.lower()
                return torch.nn.functional.interpolate(image, (height, width), mode=how)
            how = Image.Resampling.BILINEAR if resample is None else int(resample)
            flat = image.reshape(-1, *image.shape[-3:]).permute(0, 2, 3, 1).numpy()
            made = [np.asarray(Image.fromarray(x).resize((width, height), how)) for x in flat]
            stacked = torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2)
            return stacked.reshape(*image.shape[:-2], height, width)

        def normalize(
            self, image: Float[Tensor, "..."], mean: Any, std: Any, **_: Any
        ) -> Float[Tensor, "..."]:
            """Less the mean, by the deviation, channel by channel."""
            less, by = (torch.as_tensor(x, dtype=image.dtype).view(-1, 1, 1) for x in (mean, std))
            return (image - less) / by

        def center_crop(
            self, image: Shaped[Tensor, "..."], size: Any, **_: Any
        ) -> Shaped[Tensor, "..."]:
            """The middle, with black around it where it is wanted larger."""
            for axis, wanted in ((-2, size.height), (-1, size.width)):
                short = max(wanted - image.shape[axis], 0)
                around = (short // 2, (short + 1) // 2)
                image = torch.nn.functional.pad(image, (0, 0, *around) if axis == -2 else around)
                image = image.narrow(axis, int((image.shape[axis] - wanted) / 2), wanted)
            return image

    return Pillow


def _wanted(image: Shaped[Tensor, "..."], size: Any) -> tuple[int, int]:
    """Height and width that frames are resized to."""
    fitted: Any = import_module("transformers.image_transforms").get_resize_output_image_size
    if size.height and size.width:
        return size.height, size.width
    if size.shortest_edge and not size.longest_edge:
        height, width = fitted(
            image[0],
            size.shortest_edge,
            default_to_square=False,
            input_data_format="channels_first",
        )
        return int(height), int(width)
    raise ValueError(f"frames are resized to a height and width or a shortest edge, not {size}")


def _module(name: str) -> Any:
    """A file of transformers, with stand-ins for what it imports of torchvision for nothing."""
    import_module("transformers.video_processing_utils")  # which asks whether torchvision is there
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("torchvision"):
            raise
    except NameError as error:
        if error.name != "tvF":  # which a signature names, where torchvision is not there
            raise
        return _told(name, tvF=SimpleNamespace(InterpolationMode=int))
    made = {
        f"torchvision{inner}": ModuleType(f"torchvision{inner}") for inner in (*UNUSED, DRAWING)
    }
    vars(made[f"torchvision{DRAWING}"]).update(to_pil_image=_picture, pil_to_tensor=_tensor)
    for path, module in made.items():
        outer, _, inner = path.rpartition(".")
        if outer:
            setattr(made[outer], inner, module)
    sys.modules.update(made)
    try:
        return import_module(name)
    finally:
        for path in made:
            del sys.modules[path]


def _told(name: str, **known: Any) -> Any:
    """A file of transformers that finds these names in itself before its first line runs."""
    spec = find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    module = module_from_spec(spec)
    vars(module).update(known)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _picture(frame: UInt8[Tensor, "channel row column"]) -> Image.Image:
    return Image.fromarray(frame.permute(1, 2, 0).numpy())


def _tensor(picture: Image.Image) -> UInt8[Tensor, "channel row column"]:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)
