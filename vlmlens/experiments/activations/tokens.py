"""Tokens: harvested rows as batches of tensors, some files in memory at a time."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from vlmlens.checks import whole


@runtime_checkable
class InFiles(Protocol):
    """Rows that lie in files."""

    def files(self) -> list[int]:
        """The files' numbers."""
        ...

    def of_file(self, number: int, name: str) -> Shaped[np.ndarray, "token ..."]:
        """All rows of a file."""
        ...


class Tokens(IterableDataset):
    """One point's rows, batch by batch; the last batch of an epoch may be smaller.

    Args:
        harvest: what is read.
        point: which point.
        size: rows a batch.
        seed: of the order; None: as they lie.
        epochs: how often all come.
        mix: files that are shuffled together.

    Raises:
        InputError: sizes below one.
    """

    def __init__(
        self, harvest: InFiles, point: str, size: int, seed: int | None, epochs: int, mix: int
    ):
        for name, given in (("size", size), ("epochs", epochs), ("mix", mix)):
            whole(given, name, least=1)
        self._harvest, self._point = harvest, point
        self._size, self._seed, self._epochs, self._mix = size, seed, epochs, mix

    def __iter__(self) -> Iterator[Float[Tensor, "row ..."]]:
        info = get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        for epoch in range(self._epochs):
            drawn = None if self._seed is None else torch.Generator()
            if drawn is not None:
                drawn.manual_seed(hash((self._seed, epoch)) % 2**63)
            yield from self._epoch(drawn, first, step)

    def _epoch(
        self, drawn: torch.Generator | None, first: int, step: int
    ) -> Iterator[Float[Tensor, "row ..."]]:
        files = self._harvest.files()
        if drawn is not None:
            files = [files[at] for at in torch.randperm(len(files), generator=drawn)]
        files, left = files[first::step], []
        for start in range(0, len(files), self._mix):
            some = files[start : start + self._mix]
            parts = [torch.from_numpy(self._harvest.of_file(f, self._point)) for f in some]
            rows = torch.cat([*left, *parts])
            if drawn is not None:
                rows = rows[torch.randperm(len(rows), generator=drawn)]
            ends = len(rows) - len(rows) % self._size
            for at in range(0, ends, self._size):
                yield rows[at : at + self._size]
            left = [rows[ends:]]
        if left and len(left[0]):
            yield left[0]
