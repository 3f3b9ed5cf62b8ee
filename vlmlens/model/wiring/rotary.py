"""RoPE as an object: the angle of each step; queries and keys rotated, and rotated back."""

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any, Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from vlmlens.errors import InputError
from vlmlens.model.lifetime.device import device_of
from vlmlens.tensors import onto

#: Which two channels of the rotated part make a plane: i of its first half and i of its second,
#: or two neighbours.
Pairing = Literal["half", "interleaved"]


@dataclass(frozen=True, eq=False)
class Rope:
    """Rotary position embedding: by how much every plane rotates, layer by layer.

    In multimodal RoPE each plane belongs to one of three axes. Channels after the rotated part
    (partial RoPE) stay as they are, and so do layers without RoPE, whose steps are 0.

    Source: Su et al. 2021, "RoFormer", arXiv:2104.09864; for the three axes Wang et al. 2024,
    "Qwen2-VL", arXiv:2409.12191.

    Attributes:
        step: radians per position.
        axes: what positions count along: ``("position",)``, or time, height and width; in a
            tower height and width, in patches.
        pairing: which two channels make a plane.
        planes: how many planes each layer rotates, where heads differ in width; the steps of the
            others are 0.

    Examples:
        >>> rope = model.rope
        >>> rope.step.shape, rope.axes, rope.pairing  # layer axis plane
        (torch.Size([4, 1, 16]), ('position',), 'half')
        >>> round(float(rope[0].steps()[0, 0]), 2)  # the fastest plane: a radian a position
        1.0
    """

    step: Float[Tensor, "layer axis plane"]
    axes: tuple[str, ...] = ("position",)
    pairing: Pairing = "half"
    planes: tuple[int, ...] = ()

    @classmethod
    def of(
        cls, rotary: Sequence[Any], axes: tuple[str, ...], kinds: Sequence[str | None]
    ) -> "Rope":
        """The rotation of every layer, read off what a model's rotary modules compute.

        Args:
            rotary: every layer's module; it is asked for the angles of positions 0 and 1.
            axes: names of the rows of its position ids.
            kinds: every layer's type, for modules that keep a table for each; None for a layer
                that rotates nothing.
        """
        each = [
            None if kind is None else (module, kind)
            for module, kind in zip(rotary, kinds, strict=True)
        ]
        tables: dict[tuple[Any, str] | None, Tensor] = {
            at: torch.stack([_angles(at[0], len(axes), axis, at[1]) for axis in range(len(axes))])
            for at in dict.fromkeys(each)
            if at is not None
        }
        halves = all(torch.equal(*table.chunk(2, dim=-1)) for table in tables.values())
        pairing: Pairing = "half" if halves else "interleaved"
        split = "(two plane)" if halves else "(plane two)"
        steps = {
            at: rearrange(table, f"way {split} -> two way plane", two=2)[0]
            for at, table in tables.items()
        }
        most = max(table.shape[-1] for table in steps.values())
        none = next(iter(steps.values())).new_zeros(len(axes), most)
        rows = [steps.get(at, none) for at in each]
        padded = [pad(row, (0, most - row.shape[-1])) for row in rows]
        return cls(torch.stack(padded), axes, pairing, tuple(row.shape[-1] for row in rows))

    @classmethod
    def on_grid(cls, rotary: Any, layers: int) -> "Rope":
        """The rotation of a vision tower, whose positions are rows and columns of patches.

        Args:
            rotary: the tower's module; it is asked for the angles of three patches in a corner.
            layers: how many blocks rotate by it.
        """
        device = device_of(rotary)
        corner = torch.tensor([[0, 0], [1, 0], [0, 1]], device=device)
        cos, sin = rotary(torch.zeros(1, dtype=torch.float32, device=device), corner)
        both = torch.atan2(sin[1:].float(), cos[1:].float())
        return cls(both.chunk(2, dim=-1)[0].repeat(layers, 1, 1), ("height", "width"))

    def __getitem__(self, layer: int) -> "Rope":
        """One layer's rotation, for activations of any leading shape."""
        planes = self.planes[layer] if self.planes else None
        return Rope(self.step[layer][None, :, :planes], self.axes, self.pairing)

    def steps(self, axis: str | None = None) -> Float[Tensor, "layer plane"]:
        """Radians per position along one axis; along all of them at once for None.

        Raises:
            InputError: an axis that these positions do not have.
        """
        if axis is None:
            return self.step.sum(1)
        if axis not in self.axes:
            raise InputError(f"no axis {axis!r}: positions count along {', '.join(self.axes)}")
        return self.step[:, self.axes.index(axis)]

    def shift(
        self, x: Float[Tensor, "*lead d_head"], delta: float, axis: str | None = None
    ) -> Float[Tensor, "*lead d_head"]:
        """Rotated queries or keys, as if ``delta`` positions further on.

        Args:
            x: queries or keys, layers first (or of one layer: ``rope[layer].shift``).
            delta: positions; any number.
            axis: along which axis; None along all of them at once.

        Raises:
            InputError: an axis that these positions do not have, or another number of layers.
        """
        angles = self.steps(axis) * delta
        layers = angles.shape[0]
        if layers == 1:
            return self.rotate_by(x, angles[0])
        if x.shape[0] != layers:
            raise InputError(
                f"x has {x.shape[0]} layers, this rotation {layers}: take rope[layer] for one"
            )
        return self.rotate_by(x, angles.reshape(layers, *[1] * (x.ndim - 2), -1))

    def rotate_by(
        self, x: Float[Tensor, "*lead d_head"], angles: Float[Tensor, "*#lead plane"]
    ) -> Float[Tensor, "*lead d_head"]:
        """Queries or keys, each plane rotated by its own angle in radians."""
        both = spread(onto(angles, x.device), self.pairing)
        return rotate(x, both.cos().to(x.dtype), both.sin().to(x.dtype), self.pairing)

    turn, turn_by = shift, rotate_by  # their names in version 0.3

    def angles(
        self, cos: Float[Tensor, "*lead trig"], sin: Float[Tensor, "*lead trig"]
    ) -> Float[Tensor, "*lead plane"]:
        """The angles in radians that these cosines and sines are of, one a plane."""
        both = torch.atan2(sin.float(), cos.float())
        return both.chunk(2, dim=-1)[0] if self.pairing == "half" else both[..., ::2]


def rotate(
    x: Float[Tensor, "*lead d_head"],
    cos: Float[Tensor, "*#lead trig"],
    sin: Float[Tensor, "*#lead trig"],
    pairing: Pairing = "half",
) -> Float[Tensor, "*lead d_head"]:
    """X rotated by angles: ``x cos + other(x) sin``; in a plane (a, b), other is (-b, a).

    Examples:
        >>> from vlmlens.model import rotate
        >>> cos, sin = torch.tensor([0.0, 0.0]), torch.tensor([1.0, 1.0])  # 90 degrees
        >>> rotate(torch.tensor([1.0, 2.0]), cos, sin)
        tensor([-2.,  1.])
    """
    rotated, rest = x[..., : cos.shape[-1]], x[..., cos.shape[-1] :]
    if pairing == "half":
        first, second = rotated.chunk(2, dim=-1)
        other = torch.cat((-second, first), dim=-1)
    else:
        other = torch.stack((-rotated[..., 1::2], rotated[..., ::2]), dim=-1).flatten(-2)
    return torch.cat((rotated * cos + other * sin, rest), dim=-1)


def unrotate(
    x: Float[Tensor, "*lead d_head"],
    cos: Float[Tensor, "*#lead trig"],
    sin: Float[Tensor, "*#lead trig"],
    pairing: Pairing = "half",
) -> Float[Tensor, "*lead d_head"]:
    """The inverse of ``rotate``; undoes the scale that some RoPE variants have, too.

    Examples:
        >>> from vlmlens.model import rotate, unrotate
        >>> x, angles = torch.arange(4.0), torch.tensor([0.1, 0.2, 0.1, 0.2])
        >>> back = unrotate(rotate(x, angles.cos(), angles.sin()), angles.cos(), angles.sin())
        >>> torch.allclose(back, x)
        True
    """
    scale = cos**2 + sin**2
    back = rotate(x, cos, -sin, pairing)
    return torch.cat((back[..., : cos.shape[-1]] / scale, back[..., cos.shape[-1] :]), dim=-1)


def spread(planes: Float[Tensor, "*lead plane"], pairing: Pairing) -> Float[Tensor, "*lead trig"]:
    """One number a plane, given to both of its channels."""
    if pairing == "half":
        return torch.cat((planes, planes), dim=-1)
    return planes.repeat_interleave(2, dim=-1)


def angles(given: Any) -> tuple[Float[Tensor, "... trig"], Float[Tensor, "... trig"]]:
    """Cosines and sines, channel by channel, from what a model hands to attention.

    Llama 4 hands one complex number a plane, whose channels are neighbours.
    """
    if isinstance(given, Tensor):
        return spread(given.real, "interleaved"), spread(given.imag, "interleaved")
    return given[0], given[1]


def with_angles(given: Any, side: int, changed: Float[Tensor, "*lead trig"]) -> Any:
    """The same with other cosines (0) or sines (1)."""
    if not isinstance(given, Tensor):
        return (changed, given[1]) if side == 0 else (given[0], changed)
    parts = [given.real, given.imag]
    parts[side] = changed[..., ::2]
    return torch.complex(*parts)


def _angles(rotary: Any, axes: int, axis: int, kind: str) -> Float[Tensor, " trig"]:
    """The angle of every channel, for one position along one axis."""
    device = device_of(rotary)
    ids = torch.zeros(axes, 1, 2, dtype=torch.long, device=device)
    ids[axis, 0, 1] = 1
    options = {"layer_type": kind} if "layer_type" in signature(rotary.forward).parameters else {}
    x = torch.zeros(1, dtype=torch.float32, device=device)
    cos, sin = angles(rotary(x, ids if axes > 1 else ids[0], **options))
    return torch.atan2(sin[0, 1].float(), cos[0, 1].float())
