"""Tensors as values: known by their contents, in labels and in files alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from vlmlens.cache import ActivationCache
from vlmlens.cache.activations import contents, two_models
from vlmlens.checks import shown
from vlmlens.errors import InputError
from vlmlens.interventions.base import Site
from vlmlens.layout import TokenLayout
from vlmlens.positions import Positions
from vlmlens.select import Where
from vlmlens.tensors import dense, onto


@dataclass(frozen=True, eq=False, repr=False)
class Stored:
    """A tensor that prints, compares and hashes by what it holds.

    Attributes:
        tensor: what is stored; nobody may write into it.
        name: what labels call it.

    Examples:
        >>> from vlmlens.interventions import Stored
        >>> Stored.of(np.ones(3, dtype=np.float32)) == Stored.of(torch.ones(3))
        True
        >>> Stored(torch.zeros(2, 3))
        Stored(2x3, ...)
    """

    tensor: Shaped[Tensor, "..."]
    name: str = ""

    @classmethod
    def of(
        cls,
        given: "Shaped[Tensor, '...'] | Shaped[np.ndarray, '...'] | Stored",
        what: str = "tensor",
    ) -> "Stored":
        """A tensor or an array, stored; what is stored already stays as it is.

        Raises:
            InputError: what holds no numbers.
        """
        if isinstance(given, Stored):
            return given
        try:
            tensor = given if isinstance(given, Tensor) else torch.as_tensor(np.asarray(given))
        except (TypeError, ValueError) as error:
            raise InputError(f"{what}={shown(given)}: a tensor is wanted") from error
        if tensor.is_complex():
            raise InputError(f"{what}={shown(given)}: real numbers are wanted")
        return cls(dense(tensor, what).detach())

    @cached_property
    def digest(self) -> str:
        """Eight characters that change with any bit of it."""
        return contents(self.tensor)[:8]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stored) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        what = repr(self.name) if self.name else "x".join(map(str, self.tensor.shape))
        return f"Stored({what}, {self.digest})"


def mean_activation(
    cache: ActivationCache, point: str, positions: Positions | None = None
) -> Float[Tensor, "*axes"]:
    """A point's activation, averaged over the samples of a run and the chosen positions.

    Args:
        cache: what the run saved, the point among it, all positions of it.
        point: the point's full name; it has the axes ``batch pos`` or ``image patch`` first.
        positions: which positions count; by default all but padding.

    Returns:
        The mean over the first two axes, as float32.

    Raises:
        InputError: a point without positions, or of which some rows were saved only.
        EmptySelectionError: a selection that means no position of some sample.

    Examples:
        >>> from vlmlens.interventions import mean_activation
        >>> saved = model.run(model.inputs(samples), save="hook_embed").saved
        >>> mean_activation(saved, "hook_embed", "vision").shape  # d_model
        torch.Size([128])
    """
    x, axes = cache[point], cache.axes[point]
    if axes[:2] not in (("batch", "pos"), ("image", "patch"), ("image", "pos")):
        raise InputError(
            f"{point} has the axes {' '.join(axes)}: there are no positions to average over"
        )
    mask = torch.ones(x.shape[:2], dtype=torch.bool)
    if axes[0] == "batch":
        if len(cache.layouts) != len(x) or any(len(own) != x.shape[1] for own in cache.layouts):
            raise InputError(
                f"{point} is {tuple(x.shape)} and does not hold every position of its run: save "
                "it whole, without rows= or reduce="
            )
        mask = torch.stack([torch.from_numpy(~own.mask("pad")) for own in cache.layouts])
    if positions is not None:
        asked = Where(positions=positions).mask(axes, x.shape, cache.layouts)
        assert asked is not None
        mask = mask & asked.reshape(x.shape[:2])
    # Indices made here: a mask would be counted on the device, and the pass wait for it.
    at = (onto(part, x.device) for part in mask.nonzero(as_tuple=True))
    return x[tuple(at)].float().mean(0)


def refuse_other_model(cache: ActivationCache, site: Site) -> None:
    """Refuse what another model's run saved: its directions mean nothing to this one.

    Raises:
        InputError: says how to have it all the same.
    """
    if site.model is not None and two_models(cache.model, site.model.instance):
        raise InputError(
            f"what was saved for {site.name} comes from another model than this one: "
            "run this one, or, to go from model to model on purpose, pass "
            "ActivationCache(dict(saved), saved.axes, saved.layouts)"
        )
    if site.name in cache.dictionaries and site.model is not None:
        now = [each.dictionary for each in site.model.splices if site.name.startswith(each.point)]
        if all(cache.dictionaries[site.name] is not each for each in now):
            raise InputError(
                f"what was saved for {site.name} are features of another dictionary than what is "
                "spliced in now: save them with this one"
            )


def refuse_misaligned(
    cache: ActivationCache, layouts: Sequence[TokenLayout], name: str, x: Shaped[Tensor, "..."]
) -> None:
    """Refuse to put one run's activation into another's where positions do not match.

    Every position must play the same role in both, and look at the same cell of the same image.

    Raises:
        InputError: says where the two part.
    """
    other = cache[name]
    if other.shape != x.shape:
        raise InputError(
            f"{name} is {tuple(x.shape)} here and {tuple(other.shape)} in the run to patch from: "
            "both need the same prompt length and image grid"
        )
    for row, (here, there) in enumerate(zip(layouts, cache.layouts, strict=False)):
        if _alike(here, there):
            continue
        for image in range(max(here.images, there.images)):
            grids = [own.grid(image) if image < own.images else None for own in (here, there)]
            if grids[0] != grids[1]:
                raise InputError(
                    f"image {image} of sample {row} has the grid {grids[0]} here and {grids[1]} in "
                    "the run to patch from: resize the pictures to one size"
                )
        for at in range(min(len(here), len(there))):
            pair = [_said(own, at) for own in (here, there)]
            if pair[0] != pair[1]:
                raise InputError(
                    f"position {at} of sample {row} is {pair[0]} here and {pair[1]} in the run to "
                    "patch from: the prompts do not align"
                )


def _alike(here: TokenLayout, there: TokenLayout) -> bool:
    """Whether two samples agree everywhere: asked first, for sweeps ask it for every cell."""
    marks = ("image", "tile", "row", "column")
    return here.roles == there.roles and all(
        np.array_equal(getattr(here, mark), getattr(there, mark)) for mark in marks
    )


def _said(layout: TokenLayout, at: int) -> str:
    """What a position is."""
    if layout.image[at] < 0:
        return layout.roles[at]
    cell = f"row {layout.row[at]}, column {layout.column[at]}"
    return f"{layout.roles[at]} ({cell} of image {layout.image[at]})"
