"""Any function of a tensor, as an intervention."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jaxtyping import Shaped
from torch import Tensor

from vlmlens.checks import function
from vlmlens.errors import InputError
from vlmlens.interventions.base import Intervention, Site


@dataclass(frozen=True)
class Edit(Intervention):
    """Put what a function makes of an activation in its place.

    ``Edit("hook_embed", by=torch.tanh)``. Its label is the function's name; a function that needs
    numbers is a ``functools.partial`` of one at module level, so that label and file tell which.

    Attributes:
        by: from the whole activation to one of the same shape; it may write into what it is given,
            a copy, and return it or nothing.

    Examples:
        >>> from vlmlens.interventions import Edit
        >>> flip = Edit("hook_embed", vl.Where(positions="vision"), by=torch.neg)
        >>> clean = model.run(model.inputs(sample), save="hook_embed").saved["hook_embed"][0]
        >>> edited = model.run(model.inputs(sample), flip, save="hook_embed").saved["hook_embed"][0]
        >>> torch.equal(edited[4:68], -clean[4:68]), torch.equal(edited[68:], clean[68:])
        (True, True)
    """

    by: Callable[[Shaped[Tensor, "..."]], Shaped[Tensor, "..."] | None] | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.by is not None:
            function(self.by, "by", "a function of a tensor", "tensor")

    def edit(self, x: Shaped[Tensor, "..."], site: Site) -> Any:
        """What the function makes of it."""
        if self.by is None:
            raise InputError("Edit needs by=..., a function from the activation to another")
        return self.by(x)
