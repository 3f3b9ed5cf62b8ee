"""Samples in; tensors and token layouts out."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from vlmlens.errors import InputError, UnsupportedModelError
from vlmlens.families import Family
from vlmlens.layout import TokenLayout
from vlmlens.model import html
from vlmlens.model.chat import render, role_of_tokens
from vlmlens.model.geometry import patch_boxes
from vlmlens.sample import Sample

#: Role of every position, or ranges (half open) of positions by role.
Roles = Sequence[str] | Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Inputs:
    """A batch, and what each position is.

    Attributes:
        tensors: what the model's forward takes, by keyword; always with ``position_ids`` and a
            2-D ``attention_mask``, without which permuted positions read as packed sequences.
        layouts: one ``TokenLayout`` a sample.
        samples: where they came from; empty for raw tensors.
    """

    tensors: Mapping[str, Tensor]
    layouts: tuple[TokenLayout, ...]
    samples: tuple[Sample, ...] = ()

    def __len__(self) -> int:
        return len(self.layouts)

    @cached_property
    def keys(self) -> tuple[int, ...]:
        """A number for every sample that seeds random edits.

        It is the sample's own, by its id or by everything in it, whatever batch it is in. Raw
        tensors have nothing but their row in the batch.
        """
        if not self.samples:
            return tuple(range(len(self)))
        return tuple(zlib.crc32((sample.id or sample.key).encode()) for sample in self.samples)

    def to(self, device: torch.device | str) -> "Inputs":
        """The same inputs on another device."""
        return replace(self, tensors={k: v.to(device) for k, v in self.tensors.items()})

    def appended(self, ids: Int[Tensor, "batch new"], tokens: Sequence[str] = ()) -> "Inputs":
        """The inputs with tokens at the end of every sample, in the role ``assistant``.

        Raises:
            InputError: padding on the right, where an end is not the last position.
        """
        if any(layout.roles[-1] == "pad" for layout in self.layouts):
            raise InputError("tokens can be appended to left-padded inputs only")
        old = self.tensors
        ids = ids.to(old["input_ids"].device)
        new = ids.shape[1]
        last = old["position_ids"][:, -1:]
        steps = torch.arange(1, new + 1, device=last.device)
        tensors = dict(old) | {
            "input_ids": torch.cat([old["input_ids"], ids], 1),
            "attention_mask": torch.cat([old["attention_mask"], torch.ones_like(ids)], 1),
            "position_ids": torch.cat([old["position_ids"], last + steps], 1),
        }
        names = tuple(tokens) or ("",) * new
        return replace(
            self, tensors=tensors, layouts=tuple(lay.extended(names) for lay in self.layouts)
        )

    def _repr_html_(self) -> str:
        return html.inputs_html(self)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{k} {tuple(v.shape)}" for k, v in self.tensors.items())
        return f"Inputs({len(self)} samples: {shapes})\n" + "\n".join(map(repr, self.layouts))


def from_samples(
    samples: Sequence[Sample],
    processor: Any,
    family: Family,
    config: Any,
    *,
    system: str | None,
    answers: Sequence[str] | None,
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
    if padding not in ("left", "right"):
        raise InputError(f"padding={padding!r}; there is: left, right")
    rows = [
        _one(sample, processor, family, config, system, answer)
        for sample, answer in zip(samples, said, strict=True)
    ]
    length = max(len(layout) for _, layout in rows)
    tensors: dict[str, Tensor] = {}
    pad = processor.tokenizer.pad_token_id
    pad = processor.tokenizer.eos_token_id if pad is None else pad
    for name, blank in (("input_ids", pad), ("attention_mask", 0)):
        padded = [_pad(t[name], length, blank, padding) for t, _ in rows]
        tensors[name] = torch.cat(padded)
    for name in sorted({n for t, _ in rows for n in t} - set(tensors)):
        tensors[name] = torch.cat([t[name] for t, _ in rows if name in t])
    tensors["position_ids"] = positions(tensors["attention_mask"])
    return Inputs(
        tensors, tuple(layout.padded(length, padding) for _, layout in rows), tuple(samples)
    )


def _one(
    sample: Sample,
    processor: Any,
    family: Family,
    config: Any,
    system: str | None,
    answer: str | None,
) -> tuple[dict[str, Tensor], TokenLayout]:
    pictures = sample.pictures()
    chat = render(sample.question, len(pictures), processor, system, answer)
    tokenizer = processor.tokenizer
    bos = tokenizer.bos_token
    made = processor(
        text=[chat.text],
        images=pictures or None,
        return_tensors="pt",
        # A template that writes the start token itself must not get a second one.
        add_special_tokens=not (bos and chat.text.startswith(bos)),
        return_offsets_mapping=True,
        return_text_replacement_offsets=True,
    )
    offsets = made.pop("offset_mapping")[0].tolist()
    replaced = made.pop("text_replacement_offsets", None)
    tensors = {k: v for k, v in made.items() if k != "token_type_ids"}
    ids = tensors["input_ids"][0].tolist()
    roles = role_of_tokens(chat, ids, offsets, replaced[0] if replaced else [], tokenizer)
    roles = ["vision" if i == config.image_token_id else r for i, r in zip(ids, roles, strict=True)]
    grids, boxes = [], []
    if pictures:
        height, width = tensors["pixel_values"].shape[-2:]
        grid = family.image_grid(config, height, width)
        # Whole patches only: a tower leaves out the rest at the right and at the bottom.
        patch = config.vision_config.patch_size
        seen = height // patch * patch, width // patch * patch
        for picture in pictures:
            grids.append(grid)
            boxes.append(patch_boxes(processor.image_processor, picture.size, seen, grid))
    if chat.answer:
        extra = tokenizer(chat.answer, add_special_tokens=False)["input_ids"]
        ids, roles = ids + extra, roles + ["assistant"] * len(extra)
        tensors["input_ids"] = torch.tensor([ids])
        tensors["attention_mask"] = torch.ones_like(tensors["input_ids"])
    texts = [tokenizer.decode([i]) for i in ids]
    return tensors, layout_of(roles, texts, grids, boxes)


def from_tensors(
    input_ids: Int[Tensor, "batch pos"],
    family: Family,
    config: Any,
    *,
    pixel_values: Tensor | None,
    attention_mask: Tensor | None,
    roles: Roles | Sequence[Roles] | None,
    decode: Any = None,
) -> Inputs:
    """Raw tensors and the role of every position; see ``HookedVLM.inputs_from``."""
    if input_ids.ndim != 2:
        raise InputError(f"input_ids must be (batch, pos), not {tuple(input_ids.shape)}")
    batch, length = input_ids.shape
    mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    if mask.shape != input_ids.shape:
        raise InputError(
            f"attention_mask is {tuple(mask.shape)}, but input_ids are {(batch, length)}"
        )
    per_sample: list[Any] = [roles] * batch
    if isinstance(roles, Sequence) and roles and not isinstance(roles[0], str):
        per_sample = list(roles)
        if len(per_sample) != batch:
            raise InputError(f"roles for {len(per_sample)} samples, but {batch} samples")
    tensors: dict[str, Tensor] = {"input_ids": input_ids, "attention_mask": mask}
    grid, images = None, 0
    if pixel_values is not None:
        tensors["pixel_values"] = pixel_values
        height, width = pixel_values.shape[-2:]
        grid, images = family.image_grid(config, height, width), pixel_values.shape[0]
    tokens = int((input_ids == config.image_token_id).sum())
    expected = images * (grid[0] * grid[1] if grid else 0)
    if tokens != expected:
        raise InputError(
            f"input_ids hold {tokens} image tokens (id {config.image_token_id}), but {images} "
            f"image(s) in pixel_values make {expected}"
        )
    layouts = []
    for ids, seen, own in zip(input_ids.tolist(), mask.tolist(), per_sample, strict=True):
        named = _roles(own, ids, config)
        named = [
            "pad" if not s else "vision" if i == config.image_token_id else r
            for i, s, r in zip(ids, seen, named, strict=True)
        ]
        count = named.count("vision") // (grid[0] * grid[1]) if grid else 0
        texts = [decode([i]) for i in ids] if decode else [""] * length
        blank = np.full((grid[0] * grid[1], 4), np.nan) if grid else np.empty((0, 4))
        layouts.append(layout_of(named, texts, [grid] * count, [blank] * count))  # type: ignore[list-item]
    return Inputs(tensors | {"position_ids": positions(mask)}, tuple(layouts))


def _roles(roles: Roles | None, ids: list[int], config: Any) -> list[str]:
    bos = getattr(config.get_text_config(), "bos_token_id", None)
    if roles is None:
        return ["bos" if i == bos and at == 0 else "user" for at, i in enumerate(ids)]
    if not isinstance(roles, Mapping):
        if len(roles) != len(ids):
            raise InputError(f"{len(roles)} roles for {len(ids)} positions")
        return list(roles)
    named = ["template"] * len(ids)
    for role, spans in roles.items():
        if isinstance(spans, int):
            spans = [(spans, spans + 1)]
        elif spans and isinstance(spans[0], int):
            spans = [spans]
        for start, end in spans:
            if not 0 <= start < end <= len(ids):
                raise InputError(f"{role} spans {start}:{end}, but there are {len(ids)} positions")
            named[start:end] = [role] * (end - start)
    return named


def layout_of(
    roles: Sequence[str],
    tokens: Sequence[str],
    grids: Sequence[tuple[int, int]],
    boxes: Sequence[np.ndarray],
) -> TokenLayout:
    """A layout whose vision positions are dealt to the images in order, row by row.

    Raises:
        InputError: the number of vision positions is not that of the grids.
    """
    length = len(roles)
    vision = np.flatnonzero(np.array(roles) == "vision")
    sizes = [rows * columns for rows, columns in grids]
    if len(vision) != sum(sizes):
        raise InputError(
            f"{len(vision)} vision positions, but {len(grids)} image(s) with {sizes} tokens"
        )
    image, row, column = (np.full(length, -1) for _ in range(3))
    box = np.full((length, 4), np.nan)
    start = 0
    for number, ((rows, columns), size, own) in enumerate(zip(grids, sizes, boxes, strict=True)):
        here = vision[start : start + size]
        image[here] = number
        row[here], column[here] = np.divmod(np.arange(rows * columns), columns)
        box[here] = own
        start += size
    return TokenLayout(tuple(roles), tuple(tokens), image, row, column, box)


def positions(mask: Int[Tensor, "batch pos"]) -> Int[Tensor, "batch pos"]:
    """Position ids: every sample counts its own tokens from 0, wherever the padding is."""
    return (mask.long().cumsum(-1) - 1).clamp(min=0)


def _pad(x: Tensor, length: int, blank: int, side: str) -> Tensor:
    extra = length - x.shape[1]
    around = (extra, 0) if side == "left" else (0, extra)
    return torch.nn.functional.pad(x, around, value=blank)
