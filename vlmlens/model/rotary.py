"""RoPE as an object: the turn of each step, turning and un-turning queries and keys."""

from dataclasses import dataclass
from typing import Any

import torch
from einops import repeat
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Rope:
    """Rotary position embedding in transformers' half-split layout.

    Channel i of the first half of the rotated part and channel i of its second half are the two
    coordinates of one plane, which turns by ``step[i]`` radians a position. Channels after the
    rotated part (partial RoPE) stay as they are.

    Source: Su et al. 2021, "RoFormer", arXiv:2104.09864.

    Attributes:
        step: radians per position, for each plane.
    """

    step: Float[Tensor, " plane"]

    @classmethod
    def of(cls, rotary: Any) -> "Rope":
        """The rotation that a model's rotary module computes angles for."""
        return cls(rotary.inv_freq.detach().float())

    def turn(self, x: Float[Tensor, "*lead d_head"], delta: float) -> Float[Tensor, "*lead d_head"]:
        """Rotated queries or keys, as if ``delta`` positions further on."""
        return self.turn_by(x, self.step.to(x.device) * delta)

    def turn_by(
        self, x: Float[Tensor, "*lead d_head"], angles: Float[Tensor, "*#lead plane"]
    ) -> Float[Tensor, "*lead d_head"]:
        """Queries or keys, each plane turned by its own angle in radians."""
        both = repeat(angles, "... plane -> ... (two plane)", two=2)
        return rotate(x, both.cos().to(x.dtype), both.sin().to(x.dtype))

    @staticmethod
    def angles(
        cos: Float[Tensor, "*lead trig"], sin: Float[Tensor, "*lead trig"]
    ) -> Float[Tensor, "*lead plane"]:
        """The angles in radians that these cosines and sines are of, one a plane."""
        return torch.atan2(sin.float(), cos.float()).chunk(2, dim=-1)[0]


def rotate(
    x: Float[Tensor, "*lead d_head"],
    cos: Float[Tensor, "*#lead trig"],
    sin: Float[Tensor, "*#lead trig"],
) -> Float[Tensor, "*lead d_head"]:
    """X turned by angles: ``x cos + half(x) sin``, half(x) = (-second half, first half)."""
    turned, rest = x[..., : cos.shape[-1]], x[..., cos.shape[-1] :]
    first, second = turned.chunk(2, dim=-1)
    half = torch.cat((-second, first), dim=-1)
    return torch.cat((turned * cos + half * sin, rest), dim=-1)


def unrotate(
    x: Float[Tensor, "*lead d_head"],
    cos: Float[Tensor, "*#lead trig"],
    sin: Float[Tensor, "*#lead trig"],
) -> Float[Tensor, "*lead d_head"]:
    """The inverse of ``rotate``; undoes the scale that some RoPE variants have, too."""
    scale = cos**2 + sin**2
    back = rotate(x, cos, -sin)
    return torch.cat((back[..., : cos.shape[-1]] / scale, back[..., cos.shape[-1] :]), dim=-1)
