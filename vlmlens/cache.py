"""ActivationCache: what a run saved."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

import torch
from torch import Tensor

from vlmlens.errors import UnknownPointError
from vlmlens.layout import TokenLayout
from vlmlens.select import Positions


@dataclass(frozen=True)
class Save:
    """What a run is to keep of some points.

    Attributes:
        points: a point's name, or a pattern such as ``"blocks.*.attn.hook_pattern"``.
        rows: keep these positions only (queries, where the point has those), the same number in
            every sample: a role, an index, a selection such as ``Role("vision") & Row(0)``.
            Patterns are then computed for these rows alone.
        reduce: what to keep in place of the activation, computed while the pass runs.
    """

    points: str
    rows: Positions | None = None
    reduce: Callable[[Tensor], Tensor] | None = None


class ActivationCache(Mapping[str, Tensor]):
    """Saved activations by the name of their point, in the order of the pass.

    Tensors may share memory with the pass that made them; nothing in vlmlens writes into them.

    Attributes:
        axes: the names of each tensor's dimensions.
        layouts: what every position of the run was, sample by sample; empty where nobody said.
    """

    # Equal to itself alone: a Mapping would compare its tensors, and could not be hashed.
    __eq__ = object.__eq__
    __hash__ = object.__hash__  # pyright: ignore[reportAssignmentType]

    def __init__(
        self,
        tensors: dict[str, Tensor],
        axes: dict[str, tuple[str, ...]],
        layouts: Sequence[TokenLayout] = (),
    ):
        self._tensors = tensors
        self.axes = axes
        self.layouts = tuple(layouts)

    @cached_property
    def digest(self) -> str:
        """Eight characters that change with anything that was saved: the cache's name."""
        whole = hashlib.sha256()
        for name, tensor in self._tensors.items():
            whole.update(f"{name} {contents(tensor)}".encode())
        return whole.hexdigest()[:8]

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._tensors:
            raise UnknownPointError(name, self._tensors, "in what this run saved")
        return self._tensors[name]

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def stack(self, points: str | Save) -> Tensor:
        """Every layer's activation of one kind, stacked in a new first dimension.

        Args:
            points: a pattern with one ``*`` for the layer, or the ``Save`` that asked for it.

        Raises:
            UnknownPointError: nothing that matches was saved.
        """
        pattern = points.points if isinstance(points, Save) else points
        names = [name for name in self if fnmatchcase(name, pattern)]
        if not names:
            raise UnknownPointError(pattern, self, "in what this run saved")
        first = self[names[0]].device
        return torch.stack([self[name].to(first) for name in names])

    def __repr__(self) -> str:
        size = sum(t.numel() * t.element_size() for t in self._tensors.values())
        return f"ActivationCache({len(self)} points, {size / 2**20:.1f} MiB)"


def contents(x: Tensor) -> str:
    """A hash of a tensor's dtype, shape and every bit of it, wherever it lies."""
    flat = x.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return hashlib.sha256(f"{x.dtype} {tuple(x.shape)}".encode() + flat.tobytes()).hexdigest()
