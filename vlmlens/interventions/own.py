"""A copy to write into: whoever may edit an activation is shown one of their own.

Writing into it is an edit as much as returning another tensor is, and reaches this place alone:
never the tensor that the pass, another layer, a cache or somebody who saved it holds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from vlmlens.errors import InputError


@dataclass(frozen=True, eq=False)
class Made:
    """What a function made of an activation.

    Attributes:
        own: the copy that it was shown.
        returned: what it returned; None where it returned nothing.
        edited: whether it returned another tensor, or wrote into the copy.
    """

    own: Shaped[Tensor, "..."]
    returned: Any
    edited: bool

    @property
    def value(self) -> Any:
        """What goes on in the activation's place."""
        return self.own if self.returned is None else self.returned


def made_of(x: Shaped[Tensor, "..."], make: Callable[[Shaped[Tensor, "..."]], Any]) -> Made:
    """Show a function a copy of an activation, and see what it makes of it."""
    own = x.clone()
    version = None if own.is_inference() else own._version
    got = make(own)
    if got is None or got is own:
        return Made(own, got, _written(own, version, x))
    return Made(own, got, True)


def _written(own: Shaped[Tensor, "..."], version: int | None, x: Shaped[Tensor, "..."]) -> bool:
    if version is not None and own._version != version:
        return True
    # What is written through .data or numpy counts no version.
    return not (own.is_meta or torch.equal(own, x))


def refuse_unlike(
    made: Any, x: Shaped[Tensor, "..."], name: str, axes: tuple[str, ...], who: object
) -> None:
    """Refuse what cannot stand in an activation's place; it would be broadcast, or break later.

    Raises:
        InputError: names the point and both shapes.
    """
    if not isinstance(made, Tensor):
        raise InputError(
            f"{who} made {type(made).__name__} of {name}, which is a tensor {_described(x)} "
            f"({' '.join(axes)}): return a tensor, or write into the one that was given"
        )
    kept = ("shape", "dtype", "device", "layout")
    if any(getattr(made, name) != getattr(x, name) for name in kept):
        raise InputError(
            f"{who} made {_described(made)} of {name}, which is {_described(x)} "
            f"({' '.join(axes)}): shape, dtype and device stay, so expand, or take .to(x), first"
        )


def _described(x: Shaped[Tensor, "..."]) -> str:
    said = f"{tuple(x.shape)} {str(x.dtype).removeprefix('torch.')} on {x.device}"
    return said if x.layout == torch.strided else f"{said} ({x.layout})"
