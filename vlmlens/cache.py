"""ActivationCache: what a run saved."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from vlmlens.errors import InputError, UnknownPointError
from vlmlens.select import Positions


@dataclass(frozen=True)
class Save:
    """What a run is to keep of some points.

    Attributes:
        points: a point's name, or a pattern such as ``"blocks.*.attn.hook_pattern"``.
        rows: keep these positions only (queries, where the point has those), the same number in
            every sample. Patterns are then computed for these rows alone.
        reduce: what to keep in place of the activation, computed while the pass runs.
    """

    points: str
    rows: Positions | None = None
    reduce: Callable[[Tensor], Tensor] | None = None


class ActivationCache(Mapping[str, Tensor]):
    """Saved activations by the name of their point, in the order of the pass.

    Tensors may share memory with the pass that made them; nothing in vlmlens writes into them.
    """

    # Equal to itself alone: a Mapping would compare its tensors, and could not be hashed.
    __eq__ = object.__eq__
    __hash__ = object.__hash__  # pyright: ignore[reportAssignmentType]

    def __init__(self, tensors: dict[str, Tensor], axes: dict[str, tuple[str, ...]]):
        self._tensors = tensors
        self.axes = axes

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._tensors:
            raise UnknownPointError(name, self._tensors, "in what this run saved")
        return self._tensors[name]

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
            InputError: layers differ in shape, as heads of two widths do.
        """
        pattern = points.points if isinstance(points, Save) else points
        names = [name for name in self if fnmatchcase(name, pattern)]
        if not names:
            raise UnknownPointError(pattern, self, "in what this run saved")
        first = self[names[0]].device
        if len(shapes := {tuple(self[name].shape) for name in names}) > 1:
            raise InputError(
                f"{pattern} differs in shape from layer to layer, {shapes}: take one by one"
            )
        return torch.stack([self[name].to(first) for name in names])

    def __repr__(self) -> str:
        size = sum(t.numel() * t.element_size() for t in self._tensors.values())
        return f"ActivationCache({len(self)} points, {size / 2**20:.1f} MiB)"
