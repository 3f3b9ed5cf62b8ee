"""Whether a model is still what it was: its weights, settings and adapters' switches."""

from collections.abc import Hashable

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from vlmlens.model import HookedVLM
from vlmlens.model.reuse.seeing import own, settings


class Watch:
    """A model, as it was when it was last looked at.

    No copy of the weights is kept, which would double what a large model takes: versions and
    places of the tensors, and the sum of each one's bytes, read as whole numbers, which also sees
    what is written through ``.data``; but for the same numbers in another order, written so.
    """

    def __init__(self, model: HookedVLM):
        self.model = model
        self._known: tuple[Hashable, list[Tensor]] = self._look()

    def changed(self) -> bool:
        """Whether anything is another than at the last look."""
        before, self._known = self._known, self._look()
        return before[0] != self._known[0]

    def _look(self) -> tuple[Hashable, list[Shaped[Tensor, "..."]]]:
        """What it is now, and the tensors, held so that no other can get their ``id``."""
        modules = list(self.model.hf_model.modules())
        held = [x for module in modules for x in own(module)]
        places = tuple(map(_place, held))
        there = [_sum(x.detach()) for x in held if not x.is_meta]
        sums = torch.stack([each.to(there[0].device) for each in there]).tolist() if there else ()
        return (settings(self.model, modules), places, tuple(sums)), held


def _place(x: Shaped[Tensor, "..."]) -> Hashable:
    version = 0 if x.is_inference() else x._version
    return id(x), version, x.data_ptr(), x.dtype, x.device, tuple(x.shape)


def _sum(x: Shaped[Tensor, "..."]) -> Int[Tensor, ""]:
    """The sum of a tensor's bytes, eight to a number where they come out even."""
    flat = x.contiguous().reshape(-1)
    words = flat.numel() * flat.element_size() % 8 == 0
    even = words and flat.storage_offset() * flat.element_size() % 8 == 0
    return flat.view(torch.int64 if even else torch.uint8).sum(dtype=torch.int64)
