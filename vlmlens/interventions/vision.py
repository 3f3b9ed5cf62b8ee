"""Where each image's tokens lie in an activation."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from vlmlens.errors import EmptySelectionError, InputError
from vlmlens.interventions.base import Site
from vlmlens.layout import TokenLayout
from vlmlens.tensors import onto


@dataclass(frozen=True, eq=False)
class ImageTokens:
    """One image's tokens along the first two axes of an activation.

    Attributes:
        sample: whose image it is.
        image: which of the sample's images.
        slot: the activation's row: the sample, or the picture at the projector; None where all
            images are packed into one row.
        places: where its tokens lie in that row, tile by tile, row by row.
        positions: where they lie in the sample's sequence.
        layout: the sample's layout.
    """

    sample: int
    image: int
    slot: int | None
    places: Int[Tensor, " patch"]
    positions: Int[np.ndarray, " patch"]
    layout: TokenLayout

    def at(self, places: Int[Tensor, " patch"]) -> tuple[Any, ...]:
        """The index of some of its tokens in the activation."""
        return (places,) if self.slot is None else (self.slot, places)


def images(x: Shaped[Tensor, "..."], site: Site) -> list[ImageTokens]:
    """Every image's tokens at a site, or none where there are none (while decoding).

    Raises:
        EmptySelectionError: a sample without an image, or without any of its tokens.
        InputError: a point that has neither positions of a sequence nor patches.
    """
    found = list(_all(site))
    if site.axes[:2] == ("batch", "pos"):
        if x.shape[1] < len(site.layouts[0]):
            if site.step > 0:
                return []
            raise InputError(
                f"{site.name} holds {x.shape[1]} of {len(site.layouts[0])} positions, so which "
                "are the image's cannot be determined; edit at hook_embed"
            )
        return [each.at(each.sample, each.here, x) for each in found if len(each.here)]
    if site.axes[:2] == ("image", "patch"):
        if len(found) != len(x) or any(each.size != x.shape[1] for each in found):
            raise InputError(
                f"{site.name} holds {x.shape[0]} x {x.shape[1]} patches, which are not these "
                "images' vision tokens one by one; edit at hook_embed"
            )
        return [each.at(slot, each.rows, x) for slot, each in enumerate(found) if len(each.here)]
    if site.axes[0] == "patch" and site.name.startswith("projector."):
        return _packed(x, site, found)
    raise InputError(
        f"{site.name} has the axes {' '.join(site.axes)}; an image's tokens are edited among the "
        "positions of a sequence, for example at hook_embed, or at projector.hook_out"
    )


def missing(layout: TokenLayout, image: int, tile: int) -> Bool[np.ndarray, "row column"]:
    """The places of a grid without a token, which a processor left out or an edit dropped.

    Raises:
        EmptySelectionError: the sample holds no such image, or the image no such tile.
    """
    there, here = np.zeros(layout.grid(image, tile), dtype=bool), layout.vision(image, tile)
    there[layout.row[here], layout.column[here]] = True
    return ~there


def tiles(
    layout: TokenLayout, positions: Int[np.ndarray, " patch"]
) -> list[Int[np.ndarray, " _own"]]:
    """An image's tokens, as indices into ``positions``, tile by tile."""
    tile = layout.tile[positions]
    return [np.flatnonzero(tile == number) for number in np.unique(tile)]


def shown(sample: int, layout: TokenLayout) -> list[tuple[int, Int[np.ndarray, " _patch"]]]:
    """A sample's images with their tokens; without those of which all were dropped.

    Raises:
        EmptySelectionError: none is left.
    """
    every = [(image, layout.vision(image)) for image in layout.standing()]
    if not (left := [(image, here) for image, here in every if len(here)]):
        raise EmptySelectionError(f"sample {sample} has no vision tokens: {layout}")
    return left


class _Shown(NamedTuple):
    """One image of a batch: what a projector made of it, and what is left of that.

    Fields:
        sample: whose image it is.
        image: which of the sample's images.
        here: where its tokens lie in the sample's sequence.
        rows: which of the projector's rows of this image they come from.
        size: how many rows the projector has for it: tokens that were taken out had theirs.
        layout: the sample's layout.
    """

    sample: int
    image: int
    here: Int[np.ndarray, " patch"]
    rows: Int[np.ndarray, " patch"]
    size: int
    layout: TokenLayout

    def at(
        self, slot: int | None, places: Int[np.ndarray, " patch"], x: Shaped[Tensor, "..."]
    ) -> ImageTokens:
        """Its tokens in an activation, at these places of one row."""
        there = onto(torch.from_numpy(places), x.device)
        return ImageTokens(self.sample, self.image, slot, there, self.here, self.layout)


def _packed(
    x: Shaped[Tensor, "patch d_model"], site: Site, found: list[_Shown]
) -> list[ImageTokens]:
    """All images' tokens in one row, in the order of the sequence."""
    total = sum(each.size for each in found)
    if len(x) != total or not site.model.family.raster:
        raise InputError(
            f"{site.name} holds {len(x)} patches that are not these images' {total} vision tokens "
            f"in their order; {_instead(site)}"
        )
    starts = np.cumsum([0, *(each.size for each in found)])
    return [
        each.at(None, start + each.rows, x)
        for start, each in zip(starts[:-1], found, strict=True)
        if len(each.here)
    ]


def _instead(site: Site) -> str:
    """Where else to edit than at packed rows."""
    if site.model.family.deepstack and any(layout.videos for layout in site.layouts):
        return (
            "what a deep tower adds comes by pictures and then by videos: edit samples with "
            "pictures and samples with videos in passes of their own"
        )
    return "edit at hook_embed"


def _all(site: Site) -> Iterator[_Shown]:
    """Every image, in the order that they stand in: that of the projector's rows."""
    for sample, layout in enumerate(site.layouts):
        left = dict(shown(sample, layout))
        for image in layout.standing():
            made, here = layout.made(image), left.get(image, np.zeros(0, dtype=int))
            yield _Shown(sample, image, here, np.searchsorted(made, here), len(made), layout)
