"""Inputs: a batch, and what each position is."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from jaxtyping import Int, Num, Shaped
from torch import Tensor

from vlmlens import display
from vlmlens.checks import shown
from vlmlens.errors import InputError
from vlmlens.identity import unit
from vlmlens.layout import TokenLayout
from vlmlens.sample import Sample


@dataclass(frozen=True, eq=False)
class Inputs:
    """A batch, and what each position is.

    Attributes:
        tensors: what the model's forward takes, by keyword; always with ``position_ids`` and a
            2-D ``attention_mask``, without which permuted positions read as packed sequences.
        layouts: one ``TokenLayout`` a sample.
        samples: where they came from; empty for raw tensors.
        per_token: further tensors with a number for every token, and a generated token's number.
        made_for: the kind of model that their numbers mean something to; "" where nobody said.
        unpooled: the layouts before ``CompressVision`` took tokens out, which is what the projector
            makes and what enters ``hook_embed``; empty where it did not.

    Examples:
        >>> inputs = model.inputs(samples)
        >>> len(inputs), inputs.tensors["input_ids"].shape  # batch pos
        (4, torch.Size([4, 80]))
        >>> inputs.layouts[1]
        TokenLayout(80 positions: 1 bos, 6 template, 9 user, 64 vision)
    """

    tensors: Mapping[str, Shaped[Tensor, "..."]]
    layouts: tuple[TokenLayout, ...]
    samples: tuple[Sample, ...] = ()
    per_token: Mapping[str, int] = field(default_factory=dict)
    made_for: str = ""
    unpooled: tuple[TokenLayout, ...] = ()

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

    @cached_property
    def units(self) -> tuple[str, ...]:
        """What each sample is one draw of, ``identity.unit``; nothing for raw tensors.

        Raises:
            ImageError: a picture's file is gone.
        """
        return tuple(map(unit, self.samples))

    @property
    def seeing(self) -> bool:
        """Whether they show any picture or video."""
        return any(name.startswith("pixel_values") for name in self.tensors)

    def same_images(self, other: "Inputs") -> bool:
        """Whether both hold the very same image tensors, in the same order.

        Examples:
            >>> model.inputs(samples[:1]).same_images(model.inputs(samples[1:2]))
            False
        """
        if not isinstance(other, Inputs):
            raise InputError(f"other={shown(other)}: inputs are wanted, as model.inputs(...) makes")
        counted = {"input_ids", "attention_mask", "position_ids", *self.per_token}
        mine, others = (
            {name: x for name, x in inputs.tensors.items() if name not in counted}
            for inputs in (self, other)
        )
        return mine.keys() == others.keys() and all(
            torch.equal(x, others[name].to(x.device)) for name, x in mine.items()
        )

    def to(self, device: torch.device | str) -> "Inputs":
        """The same inputs on another device.

        Examples:
            >>> model.inputs(sample).to("cpu").tensors["input_ids"].device
            device(type='cpu')
        """
        return replace(self, tensors={k: v.to(device) for k, v in self.tensors.items()})

    def appended(self, ids: Int[Tensor, "batch new"], tokens: Sequence[str] = ()) -> "Inputs":
        """The inputs with tokens at the end of every sample, in the role ``assistant``.

        Positions go on from the last one, or with videos from the largest, as transformers' do.

        Raises:
            InputError: padding on the right, where an end is not the last position.

        Examples:
            >>> inputs = model.inputs(samples)
            >>> answered = inputs.appended(torch.zeros(4, 2, dtype=torch.long))
            >>> answered.layouts[0].roles[-2:], answered.tensors["input_ids"].shape
            (('assistant', 'assistant'), torch.Size([4, 82]))
        """
        if any(layout.roles[-1] == "pad" for layout in self.layouts):
            raise InputError("tokens can be appended to left-padded inputs only")
        old = self.tensors
        ids = ids.to(old["input_ids"].device)
        new = ids.shape[1]
        last = self._last_position()
        steps = torch.arange(1, new + 1, device=last.device)
        tensors = dict(old) | {
            "input_ids": torch.cat([old["input_ids"], ids], 1),
            "position_ids": torch.cat([old["position_ids"], last + steps], -1),
        }
        for name, fill in {"attention_mask": 1, **self.per_token}.items():
            if name in old:
                tensors[name] = torch.cat([old[name], torch.full_like(ids, fill)], 1)
        names = tuple(tokens) or ("",) * new
        longer = {
            name: tuple(layout.extended(names) for layout in getattr(self, name))
            for name in ("layouts", "unpooled")
        }
        return replace(self, tensors=tensors, **longer)

    def _last_position(self) -> Num[Tensor, "*plane batch 1"]:
        """The position that the next one follows: the last, or the largest after a video.

        Positions that were moved by fractions are no integers.

        A video's time may run ahead of the text behind it, and models of several axes go on
        from the largest number on any of them.
        """
        ids = self.tensors["position_ids"]
        last = ids[..., -1:]
        long = [layout.videos > 0 for layout in self.layouts]
        if ids.ndim < 3 or not any(long):
            return last
        top = ids[-3:].amax((0, 2))[:, None].expand(3, -1, 1)  # text positions may come first
        ahead = torch.cat([last[:-3], top])
        return torch.where(torch.tensor(long, device=ids.device)[:, None], ahead, last)

    def _repr_html_(self) -> str:
        return display.of_inputs(self.layouts, self.samples, self.tensors)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{k} {tuple(v.shape)}" for k, v in self.tensors.items())
        return f"Inputs({len(self)} samples: {shapes})\n" + "\n".join(map(repr, self.layouts))
