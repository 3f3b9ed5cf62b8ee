"""What an intervention is."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vlmlens.layout import TokenLayout
from vlmlens.select import Where

if TYPE_CHECKING:
    from vlmlens.model.inputs import Inputs


@dataclass(frozen=True)
class Site:
    """Where an edit takes place, told to ``edit``.

    Attributes:
        name: the point's name.
        axes: its axes.
        layer: its block, or None.
        layouts: every sample's layout, up to the newest position.
        keys: a stable number for every sample, whatever batch it is in; seeds random edits.
        step: the decoding step; 0 is the prompt.
    """

    name: str
    axes: tuple[str, ...]
    layer: int | None
    layouts: Sequence[TokenLayout]
    keys: Sequence[int]
    step: int = 0


@dataclass(frozen=True)
class Intervention:
    """An edit of one kind of point: a frozen value with one pure method.

    Subclasses add their own fields and write ``edit`` for the whole tensor; ``where`` confines it.

    Attributes:
        point: the point's name, or a pattern such as ``"blocks.*.hook_mlp_out"``.
        where: which layers, heads and positions are edited; everywhere by default.
    """

    point: str = ""
    where: Where = field(default_factory=Where)

    def edit(self, x: Tensor, site: Site) -> Tensor:
        """What the activation becomes: a new tensor of the same shape."""
        raise NotImplementedError(f"{type(self).__name__} must say how it edits")

    def prepare(self, inputs: "Inputs") -> "Inputs":
        """The inputs, changed before the pass; by default as they are."""
        return inputs

    def apply(self, x: Tensor, site: Site) -> Tensor:
        """The edit, confined to ``where``; everything outside stays bit for bit."""
        mask = self.where.mask(site.axes, x.shape, site.layouts)
        if mask is None:
            return self.edit(x, site)
        if site.step > 0 and not mask.any():
            return x
        return torch.where(mask.to(x.device), self.edit(x, site).to(x.dtype), x)

    def __str__(self) -> str:
        """The label of a column: the class and the fields that differ from their defaults."""
        shown = []
        for item in fields(self):
            value = getattr(self, item.name)
            plain = item.default_factory() if callable(item.default_factory) else item.default
            if value is plain or value == plain:
                continue
            if isinstance(value, Where):
                value = ", ".join(
                    f"{f.name}={getattr(value, f.name)!r}"
                    for f in fields(value)
                    if getattr(value, f.name) is not None
                )
                shown.append(value)
            else:
                shown.append(f"{item.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


def generator(seed: int, *keys: int) -> np.random.Generator:
    """A source of randomness that depends on the seed and the keys alone."""
    return np.random.default_rng([seed, *keys])
