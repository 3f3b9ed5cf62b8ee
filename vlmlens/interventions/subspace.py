"""A part of another run's activation: its projection on a subspace."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from vlmlens.errors import InputError
from vlmlens.interventions.base import Site
from vlmlens.interventions.patch import PatchFrom
from vlmlens.interventions.stored import Stored
from vlmlens.tensors import suited

#: How far from orthonormal the vectors of a basis may be.
ORTHONORMAL = 1e-3


@dataclass(frozen=True)
class PatchSubspace(PatchFrom):
    """Put what another run holds in a subspace into this one, and leave the rest (DAS).

    With B an orthonormal basis of the subspace, one vector a column, x the activation here and x'
    the other run's,

        x + B B^T (x' - x)

    All of d_model is ``PatchFrom``; a basis of no vector changes nothing. ``experiments.align``
    learns a basis, whose other arguments are those of ``PatchFrom``.

    Source: Geiger et al. 2023, "Finding Alignments Between Interpretable Causal Variables and
    Distributed Neural Representations", arXiv:2303.02536 (distributed interchange interventions).

    Attributes:
        basis: (width, rank), of the point's last axis, orthonormal columns.

    Raises:
        InputError: a basis that is no matrix, or whose columns are not orthonormal.

    Examples:
        >>> from vlmlens.interventions import PatchFrom, PatchSubspace
        >>> one, two = model.inputs(samples[:1]), model.inputs(samples[2:3])  # equally long prompts
        >>> point = "blocks.3.hook_resid_post"
        >>> source = model.run(two, save=point).saved
        >>> some = PatchSubspace(point, source=source, basis=torch.eye(128)[:, :5])
        >>> x = model.run(one, some, save=point).saved[point]
        >>> torch.allclose(x[..., :5], source[point][..., :5], atol=1e-4)
        True
        >>> torch.allclose(x[..., 5:], source[point][..., 5:], atol=1e-4)
        False
    """

    basis: Shaped[Tensor, "..."] | Stored | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.basis is None:
            return
        basis = Stored.of(self.basis, "basis")
        object.__setattr__(self, "basis", basis)
        shape = tuple(basis.tensor.shape)
        if len(shape) != 2 or shape[1] > shape[0]:
            raise InputError(f"basis is {shape}: (width, rank) is wanted, a vector a column")
        columns = basis.tensor.float()
        off = (columns.T @ columns - torch.eye(shape[1], device=columns.device)).abs()
        if bool((~(off <= ORTHONORMAL)).any()):
            raise InputError(
                "basis: its columns are not orthonormal; torch.linalg.qr(basis).Q spans the same"
            )

    def edit(self, x: Shaped[Tensor, "*axes"], site: Site) -> Shaped[Tensor, "*axes"]:
        """The activation, with the other run's in the subspace."""
        if not isinstance(self.basis, Stored):
            raise InputError("PatchSubspace needs basis=..., orthonormal columns (width, rank)")
        basis = suited(self.basis.tensor, x)
        if basis.shape[0] != x.shape[-1]:
            raise InputError(
                f"the basis is {tuple(basis.shape)}, but {site.name} is {tuple(x.shape)} "
                f"({' '.join(site.axes)}): its vectors lie along the last axis"
            )
        return swapped(x, super().edit(x, site), basis)


def swapped(
    x: Float[Tensor, "*lead width"],
    other: Float[Tensor, "*lead width"],
    basis: Float[Tensor, "width rank"],
) -> Float[Tensor, "*lead width"]:
    """One activation with another's projection on a subspace: x + B B^T (x' - x)."""
    return x + (other - x) @ basis @ basis.T
