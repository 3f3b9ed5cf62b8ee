"""Videos as a processor takes them: the frames that it chooses, and their times."""

import sys
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import UInt8

from vlmlens.checks import number, refuse_unknown, shown, whole
from vlmlens.errors import ImageError, InputError, UnsupportedModelError
from vlmlens.extras import require
from vlmlens.families import FAMILIES, Family
from vlmlens.model.sequence.choosing import HOW_MANY, choice, chosen_with, refuse_other_ways
from vlmlens.model.sequence.pixels import OURS, refuse_unfit, sized
from vlmlens.model.sequence.unread import refuse_unread
from vlmlens.sample import Sample
from vlmlens.versions import refuse_older
from vlmlens.video import Video

#: What would make a video processor hand out something else than is laid out here.
NOT_TOLD = {
    **OURS,
    "video_metadata": "Video(frames, fps=...) says it",
    "font": "a frame's time is drawn with model.processor.video_processor.font",
    "return_metadata": "inputs.layouts[sample].seconds are the frames' times",
}
#: Of what is said of frames, what is a number a second.
RATES = ("fps", "max_fps")
#: What goes where videos do not.
FRAMES_INSTEAD = "Give frames as images: Sample(images=frames)"


@dataclass(frozen=True)
class Decoded:
    """A video's frames, those that the processor chose.

    Attributes:
        frames: (frame height width channel), bytes.
        metadata: transformers' own: of which frames they are, and how many a second there were.
        chosen: numbers of these frames among the video's.
        supposed: how many a second the processor takes there to have been, where nobody says.
    """

    frames: UInt8[np.ndarray, "frame height width 3"]
    metadata: Any
    chosen: tuple[int, ...]
    supposed: int | float | None = None

    def told(self) -> Any:
        """What the processor is told of it: a copy, into which it may write."""
        return replace(self.metadata, fps=self.metadata.fps or self.supposed)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.frames.shape[2], self.frames.shape[1]

    def seconds(self, merged: int) -> tuple[float, ...]:
        """The times of frames of which so many are merged: their means; NaN where nobody knows.

        A last one that is short of frames repeats its last, as processors do.
        """
        rate = self.metadata.fps or np.nan
        chosen = [*self.chosen, *[self.chosen[-1]] * (-len(self.chosen) % merged)]
        return tuple((np.array(chosen).reshape(-1, merged) / rate).mean(1).tolist())


def video_processor_of(processor: Any, family: Family, pictures: int = 0) -> Any:
    """What takes videos, of a family that does.

    Args:
        processor: the model's.
        family: the model's.
        pictures: how many are beside them.

    Raises:
        UnsupportedModelError: another family, a processor without it, or a version of transformers
            that cannot run them.
        InputError: pictures beside videos that the family takes alone.
    """
    if family.videos is None:
        taking = ", ".join(name for name, each in FAMILIES.items() if each.videos is not None)
        raise UnsupportedModelError(
            f"{family.model_type} is shown no videos here; families that are: {taking}. "
            f"{FRAMES_INSTEAD}"
        )
    if family.videos_since:
        refuse_older(family.videos_since, f"videos of {family.model_type}", FRAMES_INSTEAD)
    if pictures and family.unmixed:
        raise InputError(
            f"{family.model_type} takes pictures or videos, and not both in one sample: "
            f"{family.unmixed}. Ask about them in samples of their own, or show the pictures as "
            "frames of a video"
        )
    taker = getattr(processor, "video_processor", None)
    if not hasattr(taker, "sample_frames"):
        raise UnsupportedModelError(
            f"this {type(processor).__name__} has no video processor: open the model with "
            "HookedVLM.from_pretrained(name), which brings the checkpoint's own where it "
            "has one (video_preprocessor_config.json, or within processor_config.json)"
        )
    return taker


def template_for(sample: Sample, processor: Any, fallback: str) -> Any:
    """The template that a processor takes for a sample.

    SmolVLM's has one of its own for conversations with videos, whatever the checkpoint's is; but
    what is compared with the rendering of these has no videos in it.
    """
    if sample.videos:
        homes = (vars(sys.modules[each.__module__]) for each in type(processor).__mro__)
        own = next((x for home in homes if (x := home.get("DEFAULT_CHAT_TEMPLATE"))), None)
        if own is not None:
            return own
    return getattr(processor, "chat_template", None) or fallback


def videos_told(given: Any, processor: Any, config: Any, family: Family) -> dict[str, Any]:
    """What a user wrote for ``videos_kwargs``, checked by name.

    Raises:
        InputError: what is no mapping, nothing that this video processor knows, what the model's
            weights are not made for, or no number of frames.
        UnsupportedModelError: a family that takes no videos.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InputError(f"videos_kwargs={shown(given)}: a mapping, {{'fps': ...}}, is wanted")
    taker = video_processor_of(processor, family)
    names = taker.valid_kwargs.__annotations__
    refuse_unknown(given, [n for n in names if n not in NOT_TOLD], "videos_kwargs", NOT_TOLD)
    refuse_unfit(given, taker, config, "videos_kwargs")
    told = sized(given, taker)
    for name in (*HOW_MANY, "max_fps", "min_frames", "max_frames"):
        if told.get(name) is not None:
            what = f"videos_kwargs[{name!r}]"
            rate = name in RATES
            told[name] = number(told[name], what, above=0) if rate else whole(told[name], what, 1)
    refuse_other_ways(taker, told)
    refuse_unread(told, taker, "videos_kwargs", partial(chosen_with, processor, told))
    return told


def decoded(video: Video, taker: Any, told: Mapping[str, Any]) -> Decoded:
    """A video's frames, those that the processor chooses.

    Raises:
        ImageError: frames or a file that cannot be read.
        InputError: a choice that the processor refuses.
        MissingToolError: a file, and nothing that decodes it is installed.
    """
    from transformers.video_utils import VideoMetadata

    choose = partial(choice, taker, told)
    if video.file is not None:
        return _from_file(video, choose)
    frames = np.stack([np.asarray(frame) for frame in video.opened()])
    count, height, width = frames.shape[:3]
    metadata = VideoMetadata(
        total_num_frames=count,
        fps=video.fps,
        width=width,
        height=height,
        duration=None if video.fps is None else count / video.fps,
        frames_indices=list(range(count)),
    )
    supposing = copy(metadata)
    metadata.frames_indices = choose(supposing)
    chosen = tuple(int(n) for n in metadata.frames_indices)
    return Decoded(frames[list(chosen)], metadata, chosen, supposing.fps)


def _from_file(video: Video, choose: Any) -> Decoded:
    """The frames of a file that a processor chooses, as PyAV decodes them."""
    from transformers.video_utils import load_video

    path: Any = str(video.frames)
    instead = "a list of its frames goes without: Video(frames, fps=...)"
    require("av", f"the video {video.named()}", instead)
    if video.file is None or not video.file.is_file():
        raise ImageError(f"cannot read the video {video.named()}: there is no such file")
    asked: list[int] = []

    def each_once(metadata: Any, **rest: Any) -> list[int]:
        """A decoder hands out each frame once, in order; processors may choose one twice."""
        asked.extend(choose(metadata, **rest))
        return sorted({*asked})

    try:
        frames, metadata = load_video(path, backend="pyav", sample_indices_fn=each_once)
    except InputError:
        raise
    except Exception as error:  # decoders raise whatever they stumble over
        raise ImageError(f"cannot read the video {video.named()}: {error}") from error
    made: Any = metadata
    decoded = [int(n) for n in made.frames_indices]
    if len(frames) != len(decoded):
        raise ImageError(
            f"the video {video.named()} says that it has {made.total_num_frames} frames; of "
            f"{len(decoded)} chosen ones {len(frames)} could be decoded"
        )
    made.frames_indices = asked
    every = np.asarray(frames)[[decoded.index(n) for n in asked]]
    return Decoded(every, made, tuple(asked))
