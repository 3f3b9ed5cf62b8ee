"""What users hand to ``HookedVLM.inputs``, as samples and what prepares them."""

from collections.abc import Mapping, Sequence
from typing import Any

from vlmlens.checks import shown, word
from vlmlens.conversation import Message
from vlmlens.errors import InputError
from vlmlens.families import Family
from vlmlens.model.doors.given import as_texts
from vlmlens.model.sequence.chat import Options
from vlmlens.model.sequence.pixels import images_told
from vlmlens.model.sequence.videos import videos_told
from vlmlens.sample import Sample


def as_asked(samples: Any, prompts: Sequence[str] | str | None, videos: Any = None) -> list[Sample]:
    """Samples: given ones, those of images or videos and prompts, those of conversations.

    Raises:
        InputError: what is none of these.
    """
    if videos is not None:
        return _of_videos(samples, videos, prompts)
    if prompts is not None:
        return _of_prompts(samples, prompts)
    if _is_conversation(samples):
        return [Sample(messages=samples)]
    given = list(samples) if isinstance(samples, Sequence) else [samples]
    given = [Sample(messages=each) if _is_conversation(each) else each for each in given]
    if not all(isinstance(each, Sample) for each in given):
        raise InputError("pass samples, conversations, or images or videos together with prompts")
    return given


def as_options(
    system: Any,
    told: tuple[Any, Any, Any, Any],
    processor: Any,
    config: Any,
    family: Family,
    count: int,
) -> Options | list[Options]:
    """What prepares the samples: for all of them the same, or of each its own system prompt.

    Args:
        system: a system prompt, or one a sample.
        told: of tools, to the template, to the image processor and to the video processor.
        processor: the model's.
        config: the model's.
        family: the model's.
        count: how many samples there are.

    Raises:
        InputError: what is of another kind.
    """
    tools, template, images, videos = told
    if template is not None and not isinstance(template, Mapping):
        raise InputError(f"template_kwargs={shown(template)}: a mapping is wanted")
    if tools is not None:
        several = isinstance(tools, list | tuple) and tools
        if not several or not all(isinstance(tool, Mapping) or callable(tool) for tool in tools):
            raise InputError(f"tools={shown(tools)}: a list of JSON schemas or functions is wanted")
        tools = tuple(tools)
    seen = (
        images_told(images, processor, config),
        videos_told(videos, processor, config, family),
    )
    rest = (tools, dict(template or {}), *seen)
    if system is None or isinstance(system, str):
        return Options(system, *rest)
    if not isinstance(system, list | tuple):
        word(system, "system")  # says what is wanted
    if len(system) != count:
        raise InputError(f"{len(system)} system prompts for {count} samples: give one each")
    every = [None if one is None else word(one, "system") for one in system]
    return [Options(one, *rest) for one in every]


def _is_conversation(given: Any) -> bool:
    return (
        isinstance(given, list | tuple)
        and bool(given)
        and all(
            isinstance(one, Message) or (isinstance(one, Mapping) and "role" in one)
            for one in given
        )
    )


def _of_prompts(images: Any, prompts: Sequence[str] | str) -> list[Sample]:
    if isinstance(prompts, str):
        alone = isinstance(images, list | tuple) and len(images) == 1
        prompts, images = [prompts], images if alone else [images]
    prompts = as_texts(prompts, "prompts")
    # A path is a sequence too, and so are bytes.
    if not isinstance(images, Sequence) or isinstance(images, str | bytes | memoryview):
        images = [images]
    if len(images) != len(prompts):
        raise InputError(
            f"{len(images)} entries of images for {len(prompts)} prompts: give one each"
        )
    return [Sample(question=p, images=i) for i, p in zip(images, prompts, strict=True)]


def _of_videos(samples: Any, videos: Any, prompts: Sequence[str] | str | None) -> list[Sample]:
    """One video a prompt, or a list of them; ``videos`` of a single prompt as ``Sample`` takes."""
    if samples is not None:
        raise InputError("images and videos for prompts: give Sample(question, images, videos=...)")
    if prompts is None:
        raise InputError("videos come with prompts=, what is asked about them")
    if isinstance(prompts, str):
        return [Sample(prompts, videos=videos)]
    asked = as_texts(prompts, "prompts")
    if not isinstance(videos, list | tuple) or len(videos) != len(asked):
        raise InputError(
            f"videos={shown(videos)} for {len(asked)} prompts: give a list, one entry each"
        )
    return [Sample(question, videos=own) for question, own in zip(asked, videos, strict=True)]
