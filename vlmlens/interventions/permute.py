"""Rearranging an image's tokens."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from vlmlens.checks import one_of, whole, wholes
from vlmlens.errors import EmptySelectionError, InputError
from vlmlens.interventions.base import Intervention, Site, generator
from vlmlens.interventions.designs import DESIGNS, SHUFFLES, TIMES, arrangement, over_time
from vlmlens.interventions.prepare import chosen_rows, only_inputs
from vlmlens.interventions.vision import images, missing, shown, tiles
from vlmlens.layout import TokenLayout
from vlmlens.positions import Positions, chosen
from vlmlens.tensors import onto

if TYPE_CHECKING:
    from vlmlens.inputs import Inputs

MOVED = ("content", "position ids")


@dataclass(frozen=True)
class PermuteVision(Intervention):
    """Rearrange the vision tokens of every image among their places.

    Token j of an image becomes what token ``order[j]`` was; position ids stay. Two images of one
    sample are rearranged each in itself. It acts at the projector's output, at ``hook_embed`` (by
    default; the same, seen from the sequence) or at any layer's stream.

    Source: Qi et al. 2025, "Beyond Semantics", arXiv:2503.17349, section on the Position
    Sensitivity Index. The paper draws one free permutation a question; so does ``seed``.

    Attributes:
        seed: draws one arrangement for every sample and image.
        permutation: this very permutation for every image, in place of a drawn one.
        design: ``"free"``, ``"within rows"``, ``"within columns"`` shuffle; ``"rows"``,
            ``"columns"`` and ``"blocks"`` shuffle whole ones; ``"mirror"``, ``"flip"`` (upside
            down), ``"transpose"``, ``"rotate 90"`` (clockwise), ``"rotate 180"``, ``"rotate
            270"`` draw nothing. Where a processor or an edit left tokens out, a design that would
            need their places is refused. Of videos, whose pictures stay: ``"within frames"``
            shuffles each frame, ``"across frames"`` each place among frames, ``"frames"`` whole
            ones, and ``"backward"`` turns time around; ``"free"`` shuffles all of a video.
        fraction: the share of tokens that a shuffle touches, drawn at random. A shuffled token
            may come back to its own place.
        among: only these change places: ``Region(...)`` or ``~Region(...)``. A rectangle is
            rearranged as a grid of its own.
        block: rows and columns of a block.
        moves: ``"content"``, or ``"position ids"``: then every token stays, and token j gets the
            id of token ``order[j]``.

    Examples:
        >>> from vlmlens.interventions import PermuteVision
        >>> inputs, mirror = model.inputs(sample), PermuteVision(design="mirror")
        >>> clean = model.run(inputs, save="hook_embed").saved["hook_embed"][0, 4:68]
        >>> seen = model.run(inputs, mirror, save="hook_embed").saved["hook_embed"][0, 4:68]
        >>> torch.equal(seen.reshape(8, 8, -1), clean.reshape(8, 8, -1).flip(1))
        True
    """

    point: str = "hook_embed"
    seed: int = 0
    permutation: tuple[int, ...] | None = None
    design: str = "free"
    fraction: float = 1.0
    among: Positions | None = None
    block: tuple[int, int] = (2, 2)
    moves: str = "content"

    def __post_init__(self):
        super().__post_init__()
        one_of(self.design, "design", (*DESIGNS, *TIMES))
        one_of(self.moves, "moves", MOVED)
        whole(self.seed, "seed", least=0)
        if self.permutation is not None:
            object.__setattr__(self, "permutation", wholes(self.permutation, "permutation"))
        object.__setattr__(self, "block", wholes(self.block, "block", least=1))
        if len(self.block) != 2:
            raise InputError(f"block={self.block}: rows and columns of one, such as (2, 2)")
        if not 0 < self.fraction <= 1:
            raise InputError(f"fraction={self.fraction}: a share above 0, at most 1")
        if self.where.positions is not None:
            raise InputError(
                "PermuteVision moves tokens among places: with where.positions some would be "
                "doubled and others lost; say which change places with among=..."
            )

    @property
    def points(self) -> tuple[str, ...]:
        """Where content is moved; position ids move in the inputs."""
        return super().points if self.moves == "content" else ()

    @property
    def reach(self) -> Positions:
        """Images alone."""
        return "vision"

    @property
    def also(self) -> tuple[str, ...]:
        """What a deep tower adds to the stream later must move with the tokens."""
        moves = self.moves == "content" and self.point in ("hook_embed", "projector.hook_out")
        return ("projector.deepstack.*.hook_out",) if moves else ()

    def edit(self, x: Shaped[Tensor, "*axes"], site: Site) -> Shaped[Tensor, "*axes"]:
        """The activation with its vision tokens rearranged."""
        out = x.clone()
        for own in images(x, site):
            order = self.order(own.layout, own.image, site.keys[own.sample])
            moved = own.places[onto(torch.from_numpy(order), x.device)]
            out[own.at(own.places)] = x[own.at(moved)]
        return out

    def prepare(self, inputs: "Inputs") -> "Inputs":
        """The inputs with the vision tokens' position ids rearranged, if those move."""
        if self.moves == "content":
            return inputs
        ids = inputs.tensors["position_ids"].clone()
        only_inputs(self)
        meant = chosen_rows(self, inputs.layouts)
        for sample, (layout, key) in enumerate(zip(inputs.layouts, inputs.keys, strict=True)):
            if not meant[sample].any():
                continue
            for image, here in shown(sample, layout):
                moved = here[self.order(layout, image, key)]
                ids[..., sample, here] = inputs.tensors["position_ids"][..., sample, moved]
        return replace(inputs, tensors={**inputs.tensors, "position_ids": ids})

    def order(self, layout: TokenLayout, image: int, key: int) -> Int[np.ndarray, " patch"]:
        """Which of an image's tokens each one becomes.

        Args:
            layout: the sample's layout.
            image: which of its images.
            key: the sample's number, which seeds what is drawn.

        Examples:
            >>> from vlmlens.interventions import PermuteVision
            >>> layout = model.inputs(sample).layouts[0]
            >>> PermuteVision(design="rows", seed=2).order(layout, image=0, key=1).shape  # patch
            (64,)
        """
        here = layout.vision(image)
        meant = np.ones(len(here), dtype=bool)
        if self.among is not None:
            meant = chosen(layout, self.among)[here]
        mine = np.flatnonzero(meant)
        order = np.arange(len(here))
        if self.permutation is not None:
            order[mine] = mine[self._given(len(mine))]
            return order
        rng = generator(self.seed, key, image)
        if self.design in TIMES:
            if not layout.videos:
                raise EmptySelectionError(f"{self.design!r} moves frames, and there is no video")
            if self.fraction < 1:
                raise InputError(f"fraction is for {', '.join(SHUFFLES)}, not {self.design!r}")
            if len(mine) and layout.frame[here[0]] >= 0:
                own = here[mine]
                looks = (layout.frame[own], layout.row[own], layout.column[own])
                order[mine] = mine[over_time(self.design, *looks, rng, _frameless(layout, own))]
            return order
        grids = [mine] if self.design == "free" else tiles(layout, here)
        for grid in grids:
            own = np.intersect1d(grid, mine)
            row, column = layout.row[here[own]], layout.column[here[own]]
            if len(own) or self.design in SHUFFLES:
                lost = missing(layout, image, int(layout.tile[here[grid[0]]])) if len(own) else None
                order[own] = own[
                    arrangement(
                        self.design,
                        row,
                        column,
                        rng,
                        fraction=self.fraction,
                        block=self.block,
                        missing=lost,
                    )
                ]
        return order

    def _given(self, size: int) -> Int[np.ndarray, " patch"]:
        given = self.permutation or ()
        if sorted(given) != list(range(size)):
            raise InputError(
                f"the permutation has {len(given)} entries, not each of 0..{size - 1} once: "
                f"this image has {size} vision tokens" + (" among them" if self.among else "")
            )
        return np.array(given, dtype=int)


def _frameless(layout: TokenLayout, own: Int[np.ndarray, " own"]) -> Int[np.ndarray, " frame"]:
    """The frames of a video that have no token at any of the places of some of its tokens."""
    places = {*zip(layout.row[own], layout.column[own], strict=True)}
    here = layout.vision(int(layout.image[own[0]]))
    at = [cell in places for cell in zip(layout.row[here], layout.column[here], strict=True)]
    frames = layout.frames(int(layout.video[own[0]]))
    return np.setdiff1d(np.arange(frames), layout.frame[here[at]])
