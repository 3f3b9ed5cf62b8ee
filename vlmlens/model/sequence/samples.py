"""Samples in; tensors and token layouts out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from inspect import signature
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from vlmlens.checks import one_of
from vlmlens.errors import InputError, UnsupportedModelError
from vlmlens.families import Family, Pictures
from vlmlens.inputs import Inputs
from vlmlens.layout import TokenLayout
from vlmlens.model.lifetime.device import device_of
from vlmlens.model.sequence.chat import Options, render
from vlmlens.model.sequence.dealing import layout_of
from vlmlens.model.sequence.fitting import kind_of
from vlmlens.model.sequence.pixels import with_options
from vlmlens.model.sequence.processing import processed
from vlmlens.model.sequence.roles import role_of_tokens
from vlmlens.model.sequence.spelling import spelled
from vlmlens.model.sequence.tensors import vision_ids
from vlmlens.model.sequence.turning import refuse_swapped
from vlmlens.model.sequence.videos import Decoded, decoded, video_processor_of
from vlmlens.picture import open_picture
from vlmlens.sample import Sample, about
from vlmlens.view import View

#: What a processor may return with a number for every token; families say which they take.
PER_TOKEN = ("token_type_ids", "mm_token_type_ids", "labels")


def from_samples(
    samples: Sequence[Sample],
    processor: Any,
    family: Family,
    model: Any,
    *,
    options: Options | Sequence[Options],
    answers: Sequence[str | None] | None,
    padding: str,
) -> Inputs:
    """Samples through the chat template and the processor; see ``HookedVLM.inputs``."""
    if not samples:
        raise InputError("no samples: pass at least one")
    if not getattr(processor.tokenizer, "is_fast", False):
        raise UnsupportedModelError(
            f"{type(processor.tokenizer).__name__} gives no character offsets, which roles are "
            "read from; open the model with a fast tokenizer"
        )
    said: list[str | None] = [None] * len(samples) if answers is None else list(answers)
    if len(said) != len(samples):
        raise InputError(f"{len(said)} answers for {len(samples)} samples: give one each")
    one_of(padding, "padding", ("left", "right"))
    asked = [options] * len(samples) if isinstance(options, Options) else options
    rows = []
    for number, (sample, answer, own) in enumerate(zip(samples, said, asked, strict=True)):
        with about(sample, f"sample {number} of the {len(samples)} given"):
            rows.append(_one(sample, processor, family, model, own, answer))
    length = max(len(layout) for _, layout in rows)
    pad = processor.tokenizer.pad_token_id
    pad = processor.tokenizer.eos_token_id if pad is None else pad
    tensors: dict[str, Tensor] = {}
    for name in ("input_ids", "attention_mask", *family.per_token):
        blank = pad if name == "input_ids" else 0
        tensors[name] = torch.cat([_pad(t[name], length, blank, padding) for t, _ in rows])
    names = {n for t, _ in rows for n in t}
    if family.unmixed and {"pixel_values", "pixel_values_videos"} <= names:
        raise InputError(
            f"samples with pictures and samples with videos go into no one batch of "
            f"{family.model_type}: {family.unmixed}. Give them in batches of their own"
        )
    for name in sorted(names - set(tensors)):
        given = [t.get(name) for t, _ in rows]
        if counted := family.counting.get(name):  # samples without pictures have neither
            given = going_on(
                [t[name] for t, _ in rows if name in t],
                [t[counted] for t, _ in rows if counted in t],
            )
        tensors[name] = _joined(name, given, name in family.per_sample)
    tensors = to_device(tensors, model)
    tensors["position_ids"] = family.positions(model, tensors)
    return Inputs(
        tensors,
        tuple(layout.padded(length, padding) for _, layout in rows),
        tuple(samples),
        generated_numbers(family),
        kind_of(model.config),
    )


def per_token(
    ids: Int[Tensor, "batch pos"], family: Family, config: Any
) -> dict[str, Int[Tensor, "batch pos"]]:
    """The inputs with a number for every token of a prompt."""
    made = {}
    for name, (number, _, *of_video) in family.per_token.items():
        around = [getattr(config, field) for field in family.around_image.get(name, ())]
        marked = torch.isin(ids, ids.new_tensor([config.image_token_id, *around]))
        if name in family.within_image:
            first, last = (
                torch.isin(ids, ids.new_tensor([getattr(config, field) for field in fields]))
                for fields in family.within_image[name]
            )
            marked |= (first.cumsum(-1) > last.cumsum(-1)) | last
        made[name] = marked.to(ids.dtype) * number
        for token in vision_ids(config, family)[1:]:
            around = [getattr(config, field) for field in family.around_video.get(name, ())]
            marked = torch.isin(ids, ids.new_tensor([token, *around]))
            made[name] += marked.to(ids.dtype) * (of_video or [number])[0]
    return made


def called(made: Mapping[str, Any], renamed: Mapping[str, str], model: Any) -> dict[str, Any]:
    """What a processor made, under the names that the model takes.

    Raises:
        UnsupportedModelError: this version of transformers takes them under others.
    """
    takes = signature(model.forward).parameters if renamed else {}
    for name in renamed.values():
        if name not in takes:
            raise UnsupportedModelError(
                f"{type(model).__name__} is known, but in this version of transformers it takes no "
                f"{name}, only {', '.join(renamed)}: install a newer transformers"
            )
    return {renamed.get(name, name): value for name, value in made.items()}


def generated_numbers(family: Family) -> dict[str, int]:
    """What a generated token has in the inputs with a number for every token."""
    return {name: numbers[1] for name, numbers in family.per_token.items()}


def to_device(
    tensors: Mapping[str, Shaped[Tensor, "..."]], model: Any
) -> dict[str, Shaped[Tensor, "..."]]:
    """Tensors where the model takes them."""
    device = device_of(model.get_input_embeddings())
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def going_on(
    given: Sequence[Shaped[Tensor, "..."]], counted: Sequence[Shaped[Tensor, "..."]]
) -> list[Shaped[Tensor, "..."]]:
    """Numbers that count what a sample has, as numbers of what all samples have, in their order."""
    start, made = 0, list[Tensor]()
    for x, of in zip(given, counted, strict=True):
        made.append(torch.where(x < 0, x, x + start))
        start += of.shape[0] * of.shape[1]
    return made


def _joined(
    name: str, given: Sequence[Shaped[Tensor, "..."] | None], per_sample: bool
) -> Shaped[Tensor, "..."]:
    """What several samples have of one input, one after the other, padded with zeros."""
    there = [x for x in given if x is not None]
    if len(given) == 1:  # as it lies in memory, which the last bits of convolutions depend on
        return there[0]
    if per_sample:  # a sample without images still takes its row
        there = [torch.zeros_like(there[0][:1]) if x is None else x for x in given]
    shape = [max(sizes) for sizes in zip(*(x.shape[1:] for x in there), strict=True)]
    stacked = [x for x in there if name == "pixel_values_videos" and x.ndim == 5]
    if len(frames := {x.shape[1] for x in stacked}) > 1:
        raise InputError(
            f"videos of {' and '.join(map(str, sorted(frames)))} frames go into no one batch of "
            "this model: give as many frames each, videos_kwargs={'num_frames': ...}, or one "
            "sample at a time"
        )

    def grown(x: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        extra = [n - m for n, m in zip(shape, x.shape[1:], strict=True)]
        around = [side for e in reversed(extra) for side in (0, e)]
        return torch.nn.functional.pad(x, around) if any(extra) else x

    return torch.cat([grown(x) for x in there])


def _one(
    sample: Sample,
    processor: Any,
    family: Family,
    model: Any,
    options: Options,
    answer: str | None,
) -> tuple[dict[str, Shaped[Tensor, "..."]], TokenLayout]:
    pictures = [open_picture(image) for image in sample.images]
    taker = video_processor_of(processor, family, len(pictures)) if sample.videos else None
    videos = [decoded(video, taker, options.videos) for video in sample.videos]
    chat = render(sample, processor, options, answer, family.chat_template)
    tokenizer = processor.tokenizer
    made = processed(processor, chat.text, pictures, videos, options.images, options.videos)
    if videos:
        refuse_swapped(chat.seen, made.kinds)
    named = called(made.tensors, family.renamed, model)
    offsets = named.pop("offset_mapping")[0].tolist()
    tensors = {k: v for k, v in named.items() if k in family.per_token or k not in PER_TOKEN}
    # Cosmos3 Edge's model asks for numbers that its processor makes only when it is told to.
    config = model.config
    tensors = per_token(tensors["input_ids"], family, config) | tensors
    ids = tensors["input_ids"][0].tolist()
    roles, inside, turns = role_of_tokens(chat, made.text, ids, offsets, made.replaced, tokenizer)
    seen = vision_ids(config, family)
    vision = [i in seen for i in ids]
    roles = ["vision" if v else r for v, r in zip(vision, roles, strict=True)]
    kinds = ["separator" if i and not v else "" for i, v in zip(inside, vision, strict=True)]
    sizes, films = [picture.size for picture in pictures], [video.size for video in videos]
    takers = processor.image_processor, taker
    views = _grids(tensors, config, family, takers, (sizes, films), videos, options)
    if chat.answer:
        extra = tokenizer(chat.answer, add_special_tokens=False)["input_ids"]
        ids, roles = ids + extra, roles + ["assistant"] * len(extra)
        kinds += [""] * len(extra)
        turns += [len(chat.turns) - 1] * len(extra)
        more = torch.tensor([extra])
        for name, fill in {"attention_mask": 1, **generated_numbers(family)}.items():
            tensors[name] = torch.cat([tensors[name], torch.full_like(more, fill)], 1)
        tensors["input_ids"] = torch.tensor([ids])
    texts = [tokenizer.decode([i]) for i in ids]
    layout = replace(
        layout_of(
            roles,
            texts,
            views,
            sizes + films,
            kinds,
            made.order(len(pictures)) if videos else (),
            len(videos),
        ),
        spelled=tuple(spelled(ids, texts, tokenizer.decode)),
        turn=np.array(turns),
    )
    return tensors, layout


def _grids(
    tensors: Mapping[str, Any],
    config: Any,
    family: Family,
    takers: tuple[Any, Any],
    sizes: tuple[list[tuple[int, int]], list[tuple[int, int]]],
    videos: Sequence[Decoded],
    options: Options,
) -> list[tuple[View, ...]]:
    """The grids of a sample's pictures, then the frames of its videos.

    Args:
        tensors: what the processor made.
        config: of the model.
        family: its family.
        takers: what takes pictures, and what takes videos.
        sizes: width and height of every picture, and of every video.
        videos: their frames.
        options: what takers are told.
    """
    views, films = list[tuple[View, ...]](), list[tuple[View, ...]]()
    if family.videos is not None and videos:
        merged = getattr(takers[1], "temporal_patch_size", 1)
        times = [video.seconds(merged) for video in videos]
        filmed = with_options(takers[1], options.videos)
        films = family.videos(Pictures(config, tensors, filmed, sizes[1], times))
    if sizes[0]:
        cutter = with_options(takers[0], options.images)
        if films and not any("video" in name for name in tensors):  # as many as are of pictures
            ours = tensors["pixel_values"][sum(map(len, films)) :]
            tensors = {**tensors, "pixel_values": ours}
        views = family.views(Pictures(config, tensors, cutter, sizes[0]))
    return [*views, *films]


def _pad(
    x: Shaped[Tensor, "batch pos"], length: int, blank: int, side: str
) -> Shaped[Tensor, "batch padded"]:
    extra = length - x.shape[1]
    around = (extra, 0) if side == "left" else (0, extra)
    return torch.nn.functional.pad(x, around, value=blank)
