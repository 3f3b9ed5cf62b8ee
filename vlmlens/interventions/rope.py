"""RoPE shifted, or taken away."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from vlmlens.checks import one_of
from vlmlens.errors import InputError
from vlmlens.interventions.base import Intervention, Site
from vlmlens.interventions.move import DISTINCT
from vlmlens.positions import Indices, indices
from vlmlens.tensors import onto

EDITED = {
    "both": ("blocks.*.attn.hook_q", "blocks.*.attn.hook_k"),
    "queries": ("blocks.*.attn.hook_q",),
    "keys": ("blocks.*.attn.hook_k",),
}


@dataclass(frozen=True)
class _Rotating(Intervention):
    """What both share: whose rotation changes, and in which planes.

    Rotations in a plane add up, so one before RoPE is one after it; and keys are rotated before
    they are cached, which makes the edit hold while decoding.
    """

    of: str = "both"
    planes: Indices | None = None

    def __post_init__(self):
        super().__post_init__()
        one_of(self.of, "of", EDITED)
        if self.point:
            raise InputError(f"{type(self).__name__} knows its points: say of={self.of!r} instead")

    @property
    def points(self) -> tuple[str, ...]:
        """Queries and keys before RoPE, or one of them."""
        return EDITED[self.of]

    def _rotated(
        self, x: Float[Tensor, "*lead d_head"], site: Site, angles: Float[Tensor, "*#lead plane"]
    ) -> Float[Tensor, "*lead d_head"]:
        """X rotated, plane by plane, in the planes that are meant."""
        self._refuse_shared_keys(site)
        self._refuse_layers_without(site)
        if self.planes is not None:
            kept = torch.zeros(angles.shape[-1], dtype=torch.bool, device=angles.device)
            kept[indices(self.planes, angles.shape[-1], "plane")] = True
            angles = angles * kept
        return _rope(self, site).rotate_by(x.float(), onto(angles, x.device)).to(x.dtype)

    def _refuse_layers_without(self, site: Site) -> None:
        """A layer that was asked for by number, and has no RoPE, is no place for a rotation."""
        if self.where.layers is not None and not _rope(self, site).step.any():
            raise InputError(
                f"layer {site.layer} of this model has no RoPE, so {self} would do nothing "
                "there: leave it out of where.layers"
            )

    def _refuse_shared_keys(self, site: Site) -> None:
        text = site.model.config.get_text_config()
        queries = text.num_attention_heads
        keys = getattr(text, "num_key_value_heads", None) or queries
        if self.where.heads is not None and self.of == "both" and queries != keys:
            raise InputError(
                f"{queries} heads share {keys} key heads, so heads={self.where.heads!r} are not "
                "one head's queries and keys: say of='queries' and its heads, or of='keys' and "
                "key-value heads"
            )


def _rope(edit: Intervention, site: Site) -> Any:
    """The rotation of the layer that is edited."""
    if site.model.rope is None:
        raise InputError(f"{edit}: this model has no rotary embedding to rotate")
    return site.model.rope[site.layer]


@dataclass(frozen=True)
class RotateRope(_Rotating):
    """Rotate queries and keys by ``delta`` RoPE steps, as if they stood so much further on.

    Rotating all queries and keys by the same steps changes nothing, since scores depend on
    differences alone; rotating some of them moves these against the rest.

    Source: Su et al. 2021, "RoFormer", arXiv:2104.09864; the full causal form of the probe in
    Qi et al. 2025, arXiv:2503.17349.

    Attributes:
        delta: steps; any number, a step of plane i is ``model.rope.steps(axis)[layer, i]``
            radians.
        axis: along which positions count on: ``"time"``, ``"height"`` or ``"width"`` in
            multimodal RoPE; None for all at once.
        of: ``"queries"``, ``"keys"`` or ``"both"``.
        planes: which planes rotate, from the fastest: indices, or ``(0.0, 0.25)`` for the fastest
            quarter; None for all.

    Examples:
        >>> from vlmlens.interventions import RotateRope
        >>> inputs = model.inputs(sample)
        >>> clean = model.run(inputs, logits="last").logits
        >>> every = model.run(inputs, RotateRope(delta=3), logits="last").logits  # all by the same
        >>> torch.allclose(every, clean, atol=1e-3)
        True
        >>> keys = RotateRope(where=vl.Where(positions="vision"), of="keys", delta=3)
        >>> torch.allclose(model.run(inputs, keys, logits="last").logits, clean, atol=1e-3)
        False
    """

    delta: int | float = 1.0
    axis: str | None = None

    def __post_init__(self):
        super().__post_init__()
        if abs(self.delta) > DISTINCT:
            raise InputError(
                f"delta={self.delta:g}: beyond {DISTINCT} steps float32, in which angles are "
                "computed, no longer distinguishes neighbours"
            )

    def edit(self, x: Shaped[Tensor, "*axes"], site: Site) -> Shaped[Tensor, "*axes"]:
        """Queries or keys, rotated."""
        return self._rotated(x, site, _rope(self, site).steps(self.axis)[0] * self.delta)


@dataclass(frozen=True)
class AblateRope(_Rotating):
    """Take RoPE away from queries and keys: they stand where angles are zero.

    Attributes:
        of: ``"queries"``, ``"keys"`` or ``"both"``.
        planes: which planes stop rotating, from the fastest, as in ``RotateRope``.

    Examples:
        >>> from vlmlens.interventions import AblateRope
        >>> points = ["blocks.0.attn.hook_q", "blocks.0.attn.hook_rot_q"]
        >>> saved = model.run(model.inputs(sample), save="blocks.0.attn.hook_q").saved
        >>> ablated = model.run(model.inputs(sample), AblateRope(of="queries"), save=points).saved
        >>> torch.allclose(ablated["rot_q", 0], saved["q", 0], atol=1e-4)
        True
    """

    reads: ClassVar[tuple[str, ...]] = ("attn.hook_cos", "attn.hook_sin")

    def edit(self, x: Shaped[Tensor, "*axes"], site: Site) -> Shaped[Tensor, "*axes"]:
        """Queries or keys, rotated back by what RoPE is about to rotate them by."""
        self._refuse_layers_without(site)
        if not _rope(self, site).step.any():  # one of all layers, and it has no RoPE
            return x
        cos, sin = (site.read(point) for point in self.reads)
        return self._rotated(x, site, -_rope(self, site).angles(cos, sin)[:, :, None])
