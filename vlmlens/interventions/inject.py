"""The image enters late."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from vlmlens.errors import InputError
from vlmlens.interventions.base import Intervention, Site
from vlmlens.positions import Positions, chosen
from vlmlens.tensors import onto, suited


@dataclass(frozen=True)
class InjectAt(Intervention):
    """Let chosen tokens into the sequence at a later block, as they are at ``hook_embed``.

    Before that block no other token sees them: their keys are hidden in every block before it.
    What they made of each other on the way is put aside; they enter as they were.

    Attributes:
        layer: the block that they enter at, from 1 (0 is what the model does by itself).
        positions: who enters late; the image, by default.

    Examples:
        >>> from vlmlens.interventions import InjectAt
        >>> late = InjectAt(layer=2)  # the image is not there before block 2
        >>> clean = model.run(model.inputs(sample), logits="last").logits
        >>> run = model.run(model.inputs(sample), late, logits="last")
        >>> run.logits.shape, torch.allclose(run.logits, clean, atol=1e-3)
        (torch.Size([1, 1, 418]), False)
    """

    layer: int = 1
    positions: Positions = "vision"
    reads: ClassVar[tuple[str, ...]] = ("hook_embed",)

    def __post_init__(self):
        super().__post_init__()
        if self.layer < 1:
            raise InputError(f"layer={self.layer}: blocks to enter late at are counted from 1")
        if self.point or self.where.shown():
            raise InputError("InjectAt needs who enters, positions=..., and where, layer=...")

    @property
    def points(self) -> tuple[str, ...]:
        """The scores of the blocks before, and the stream that enters the block."""
        before = (f"blocks.{layer}.attn.hook_attn_scores" for layer in range(self.layer))
        return (*before, f"blocks.{self.layer}.hook_resid_pre")

    def edit(self, x: Shaped[Tensor, "*axes"], site: Site) -> Shaped[Tensor, "*axes"]:
        """Keys hidden from the others before; the stream restored at the block."""
        masks = np.stack([chosen(layout, self.positions) for layout in site.layouts])
        late = onto(torch.from_numpy(masks), x.device)
        if site.axes[-1] == "key":
            keys, queries = late[:, -x.shape[-1] :], late[:, -x.shape[-2] :]
            hidden = keys[:, None, None, :] & ~queries[:, None, :, None]
            return x.masked_fill(hidden, -torch.inf)
        embedded = suited(site.read("hook_embed"), x)
        return torch.where(late[:, -x.shape[1] :, None], embedded, x)
