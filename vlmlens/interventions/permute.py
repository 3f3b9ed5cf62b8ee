"""Shuffling an image's tokens."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vlmlens.errors import EmptySelectionError, InputError
from vlmlens.interventions.base import Intervention, Site, generator


@dataclass(frozen=True)
class PermuteVision(Intervention):
    """Permute the vision tokens of every image among their places; position ids stay.

    Token j of an image becomes what token ``permutation[j]`` was. Two images of one sample are
    shuffled each in itself.

    Source: Qi et al. 2025, "Beyond Semantics", arXiv:2503.17349, section on the Position
    Sensitivity Index. The paper draws one permutation a question; so does ``seed``.

    Attributes:
        seed: draws one permutation for every sample and image.
        permutation: this very permutation for every image, in place of a drawn one.
    """

    point: str = "hook_embed"
    seed: int = 0
    permutation: tuple[int, ...] | None = None

    def edit(self, x: Tensor, site: Site) -> Tensor:
        """The activation with its vision positions permuted."""
        if self.where.positions is not None:
            raise InputError(
                "PermuteVision moves all of an image's tokens: with where.positions some would be "
                "doubled and others lost; leave positions out"
            )
        if site.step > 0:  # nothing of the image comes by again
            return x
        if site.axes[:2] != ("batch", "pos"):
            raise InputError(
                f"{site.name} has the axes {' '.join(site.axes)}; vision tokens are permuted among "
                "the positions of a sequence, for example at hook_embed"
            )
        out = x.clone()
        for row, (layout, key) in enumerate(zip(site.layouts, site.keys, strict=True)):
            if layout.images == 0:
                raise EmptySelectionError(f"sample {row} has no vision tokens to permute")
            for image in range(layout.images):
                places = torch.from_numpy(layout.vision(image)).to(x.device)
                order = torch.from_numpy(self._order(len(places), key, image)).to(x.device)
                out[row, places] = x[row, places[order]]
        return out

    def _order(self, size: int, key: int, image: int):
        if self.permutation is None:
            return generator(self.seed, key, image).permutation(size)
        order = torch.tensor(self.permutation).numpy()
        if sorted(self.permutation) != list(range(size)):
            raise InputError(
                f"the permutation has {len(order)} entries, not each of 0..{size - 1} once: "
                f"this image has {size} vision tokens"
            )
        return order
