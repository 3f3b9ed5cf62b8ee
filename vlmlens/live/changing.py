"""Whether a model is still what it was: its weights, settings and adapters' switches."""

from collections.abc import Hashable, Sequence
from itertools import cycle, islice

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from vlmlens.model import HookedVLM
from vlmlens.model.reuse.seeing import own, settings

#: Bytes of a look that are read in turn, and of a piece of a tensor; a CPU reads 1 GB in 0.07 to
#: 0.3 seconds, so that 14 GB of weights cannot be read at every action.
MOST, PIECE = 64 * 2**20, 8 * 2**20
#: Numbers of every tensor, spread over it, that each look reads where it does not read all.
SPREAD = 1024


class Watch:
    """A model, as it was when it was last looked at.

    No copy of the weights is kept, which would double what a large model takes. Every look
    compares the versions and places of all tensors, which sees whatever is written by torch's
    operations, loaded or put in their place. What is written through ``.data``, or into memory
    that numpy shares, no version counts: that is seen in sums of the bytes, read as whole numbers.
    A look sums all tensors on other devices, and on the CPU all up to ``MOST`` bytes. Of a larger
    model it sums some numbers spread over every tensor, and all bytes of the next ``MOST`` in
    turn. So a few numbers that are written through ``.data`` into a large model are seen some
    looks later, when their turn comes; the same numbers in another order, written so, may never be.
    """

    def __init__(self, model: HookedVLM):
        self.model, self._next = model, 0
        self._known: tuple[Hashable, list[Tensor]] = self._look()
        self._pieces, self._sums = self._read()

    def changed(self) -> bool:
        """Whether anything is another than at the last look, as far as this look reads."""
        before, self._known = self._known, self._look()
        if before[0] == self._known[0] and self._turn():
            return False
        self._pieces, self._sums = self._read()
        return True

    def _look(self) -> tuple[Hashable, list[Shaped[Tensor, "..."]]]:
        """What it is now, and the tensors, held so that no other can get their ``id``."""
        modules = list(self.model.hf_model.modules())
        held = [x for module in modules for x in own(module)]
        there = [x.detach() for x in held if not x.is_meta]
        near = [x for x in there if x.device.type == "cpu"]
        if sum(x.numel() * x.element_size() for x in near) > MOST:
            sums = [_sum(_spread(x)) for x in near]
        else:
            sums = [_sum(_words(x)) for x in near]
        sums += [_sum(_words(x)) for x in there if x.device.type != "cpu"]
        places = tuple(map(_place, held))
        return (settings(self.model, modules), places, _numbers(sums)), held

    def _read(self) -> tuple[list[Shaped[Tensor, " word"]], tuple[int, ...]]:
        """All pieces of a model on the CPU that is too large for one look, and their sums."""
        near = [x.detach() for x in self._known[1] if x.device.type == "cpu"]
        if sum(x.numel() * x.element_size() for x in near) <= MOST:
            return [], ()
        words = [_words(x) for x in near if x.is_contiguous()]
        pieces = [part for each in words for part in each.split(PIECE // each.element_size())]
        return pieces, _numbers([_sum(each) for each in pieces])

    def _turn(self) -> bool:
        """Whether the pieces whose turn it is hold what they held."""
        if not self._pieces:
            return True
        count = min(len(self._pieces), MOST // PIECE)
        turn = list(islice(cycle(range(len(self._pieces))), self._next, self._next + count))
        self._next = (self._next + count) % len(self._pieces)
        now = _numbers([_sum(self._pieces[at]) for at in turn])
        return now == tuple(self._sums[at] for at in turn)


def _place(x: Shaped[Tensor, "..."]) -> Hashable:
    version = 0 if x.is_inference() else x._version
    return id(x), version, x.data_ptr(), x.dtype, x.device, tuple(x.shape)


def _words(x: Shaped[Tensor, "..."]) -> Shaped[Tensor, " word"]:
    """A tensor's bytes, eight to a number where they come out even."""
    flat = x.contiguous().reshape(-1)
    words = flat.numel() * flat.element_size() % 8 == 0
    even = words and flat.storage_offset() * flat.element_size() % 8 == 0
    return flat.view(torch.int64 if even else torch.uint8)


def _spread(x: Shaped[Tensor, "..."]) -> Shaped[Tensor, " word"]:
    """Some of a tensor's bytes: all of a small one; one that is not contiguous as a whole."""
    words = _words(x)
    return words[:: max(1, len(words) // SPREAD)]


def _sum(words: Shaped[Tensor, " word"]) -> Int[Tensor, ""]:
    return words.sum(dtype=torch.int64)


def _numbers(sums: Sequence[Int[Tensor, ""]]) -> tuple[int, ...]:
    """The sums as numbers; a GPU is waited for once, and not once a tensor."""
    if not sums:
        return ()
    return tuple(torch.stack([each.to(sums[0].device) for each in sums]).tolist())
