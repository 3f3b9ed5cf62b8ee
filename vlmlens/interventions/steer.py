"""Adding a direction to what a place holds."""

from dataclasses import dataclass

from jaxtyping import Shaped
from torch import Tensor

from vlmlens.errors import InputError
from vlmlens.interventions.base import Intervention, Site
from vlmlens.interventions.stored import Stored
from vlmlens.tensors import suited


@dataclass(frozen=True)
class Steer(Intervention):
    """Add ``by`` times a vector to an activation.

    ``mean_activation`` gives the mean over a run; the difference of two is a direction.

    Source: Turner et al. 2023, "Activation Addition", arXiv:2308.10248.

    Attributes:
        vector: along the point's last axes, for example (d_model,) or (head, d_head).
        by: how much of it; may be negative.

    Examples:
        >>> from vlmlens.interventions import Steer, mean_activation
        >>> point = "blocks.1.hook_resid_post"
        >>> saved = model.run(model.inputs(samples), save=point).saved
        >>> vision, user = (mean_activation(saved, point, role) for role in ("vision", "user"))
        >>> steer = Steer(point, vl.Where(positions="last"), vector=vision - user, by=2.0)
        >>> model.run(model.inputs(sample), steer).logits.shape
        torch.Size([1, 78, 418])
    """

    vector: Shaped[Tensor, "..."] | Stored | None = None
    by: int | float = 1.0

    def __post_init__(self):
        super().__post_init__()
        if self.vector is not None:
            object.__setattr__(self, "vector", Stored.of(self.vector, "vector"))

    def edit(self, x: Shaped[Tensor, "*axes"], site: Site) -> Shaped[Tensor, "*axes"]:
        """The activation and the vector."""
        if not isinstance(self.vector, Stored):
            raise InputError("Steer needs vector=..., the direction to add")
        vector = self.vector.tensor
        if vector.shape != x.shape[x.ndim - vector.ndim :]:
            raise InputError(
                f"the vector is {tuple(vector.shape)}, but {site.name} is {tuple(x.shape)} "
                f"({' '.join(site.axes)}): the vector lies along its last axes"
            )
        return x + self.by * suited(vector, x)
