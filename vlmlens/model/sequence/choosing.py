"""Which frames a video processor chooses, and what it chooses by."""

from collections.abc import Mapping
from contextlib import suppress
from copy import copy
from functools import partial
from inspect import signature
from typing import Any

from vlmlens.errors import InputError
from vlmlens.model.sequence.unread import stumbles

#: What a processor takes off its settings before it chooses frames by the rest.
NOT_OF_CHOOSING = (
    *("input_data_format", "do_convert_rgb", "do_sample_frames", "device", "video_metadata"),
)
#: What says how many frames are chosen; processors take only one of them at a time.
HOW_MANY = ("fps", "num_frames")
#: What processors ask for, and then choose without it.
UNREAD = {"Glm46VVideoProcessor": ("fps",)}
#: Those that tell a model by ``fps`` how long frames last, whether or not they are chosen by it.
TIMED = ("Qwen2_5OmniProcessor", "Qwen3OmniMoeProcessor")
#: What makes a processor choose frames.
CHOOSING: tuple[dict[str, Any], ...] = ({"do_sample_frames": True}, {"fps": 1}, {"num_frames": 8})


def choice(taker: Any, told: Mapping[str, Any], metadata: Any, **_: Any) -> list[int]:
    """Numbers of the frames that a video processor chooses; it writes the rate that it supposes.

    Who says how many wants them chosen, also of a processor that otherwise takes all of them; and
    what its own settings say of how many is then of no account.

    Raises:
        InputError: it cannot choose, or chooses fewer than it is told.
    """
    by = _settings(taker, told, metadata)
    if by is None:
        return list(range(metadata.total_num_frames))
    try:
        chosen = [int(n) for n in by[0].sample_frames(metadata=metadata, **by[1])]
    except Exception as error:  # processors raise whatever they stumble over
        raise InputError(
            f"the model's processor cannot choose frames of a video of "
            f"{metadata.total_num_frames} frames: {error}. videos_kwargs={{'do_sample_frames': "
            "False} takes all of them; {'num_frames': ...} or {'fps': ...} says how many"
        ) from error
    if not chosen:
        raise InputError(
            f"the model's processor chooses none of {metadata.total_num_frames} frames"
        )
    if "max_fps" in by[1] and len(chosen) < (told.get("num_frames") or 0):
        raise InputError(
            f"videos_kwargs={{'num_frames': {told['num_frames']}}}: the model's processor chooses "
            f"{len(chosen)} of {metadata.total_num_frames} frames, at most "
            f"max_fps={by[1]['max_fps']} a second. Ask for no more than there are, and for "
            f"more a second with videos_kwargs={{'num_frames': ..., 'max_fps': ...}}"
        )
    return chosen


def _settings(
    taker: Any, told: Mapping[str, Any], metadata: Any
) -> tuple[Any, dict[str, Any]] | None:
    """The processor that chooses frames, and by what; None where all of them are taken."""
    names = taker.valid_kwargs.__annotations__
    settings = {name: getattr(taker, name, None) for name in names}
    if any(told.get(name) is not None for name in HOW_MANY):
        refuse_other_ways(taker, told)
        settings |= dict.fromkeys(HOW_MANY) | {"do_sample_frames": True}
        taker = copy(taker)  # which falls back on its own, where it is told neither
        vars(taker).update(dict.fromkeys(HOW_MANY))
        if "skip_secs" in signature(taker.sample_frames).parameters:
            settings |= {"fps": metadata.fps, "num_frames": metadata.total_num_frames}
    settings |= told
    if not settings["do_sample_frames"]:
        return None
    return taker, {name: x for name, x in settings.items() if name not in NOT_OF_CHOOSING}


def refuse_other_ways(taker: Any, told: Mapping[str, Any]) -> None:
    """Refuse to be told how many frames by what a processor does not choose by.

    Raises:
        InputError: says what it chooses by.
    """
    kind, known = type(taker).__name__, signature(taker.sample_frames).parameters
    read = [name for name in HOW_MANY if name in known and name not in UNREAD.get(kind, ())]
    for name in HOW_MANY:
        if told.get(name) is not None and name not in read and told.get("do_sample_frames") is None:
            raise InputError(
                f"videos_kwargs={{{name!r}: {told[name]}}}: {kind} chooses frames "
                f"{'by ' + ' or '.join(read) if read else 'by a rule of its own'}, and would not "
                "look at it. Choose them yourself: give these frames, with "
                "videos_kwargs={'do_sample_frames': False}"
            )


def chosen_with(processor: Any, told: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """What makes an option be looked at where frames are chosen.

    Args:
        processor: the model's.
        told: options of a call, ``name`` among them.
        name: the option.

    Returns:
        What to say beside it: nothing, where it is looked at as it is; None where nothing helps.
    """
    if name == "fps" and type(processor).__name__ in TIMED:
        return {}
    if name == "do_sample_frames" and not told[name]:  # all frames, which others say as well
        return {}
    taker = processor.video_processor
    try:
        if _chooses_by(taker, told, name):
            return {}
    except InputError:  # the call itself will say so
        return {}
    for more in CHOOSING:
        with suppress(InputError):
            if _chooses_by(taker, {**told, **more}, name):
                return more
    return None


def _chooses_by(taker: Any, told: Mapping[str, Any], name: str) -> bool:
    """Whether frames of a long video are chosen by an option."""
    from transformers.video_utils import VideoMetadata

    long = VideoMetadata(total_num_frames=600, fps=25.0, width=64, height=64, duration=24.0)
    by = _settings(taker, told, long)
    chosen = choice(taker, told, copy(long))  # says why not, if it cannot
    if name == "do_sample_frames":
        return len(chosen) < long.total_num_frames
    if by is None or name not in by[1]:
        return False
    return stumbles(partial(by[0].sample_frames, metadata=long), by[1], name)
