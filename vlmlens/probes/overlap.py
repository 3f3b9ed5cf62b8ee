"""Attention on objects: how much of it, and whether it is theirs."""

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Float
from scipy.stats import rankdata

from vlmlens.annotations import checked
from vlmlens.errors import EmptySelectionError, InputError
from vlmlens.model import Run
from vlmlens.probes.grids import Box
from vlmlens.probes.labels import array, layer_numbers
from vlmlens.probes.steps import LAST_ROWS

NEEDS = (LAST_ROWS,)


@checked
def object_overlap(run: Run, boxes: Sequence[Sequence[Box]], *, image: int = 0) -> xr.Dataset:
    """How much of a head's attention to the image lies on objects.

    With p the last row's weights on the image's patches divided by their sum, and O the patches
    that overlap any of the boxes:

        mass = sum p[O]       area = |O| / |V|       lift = mass / area
        hit  = 1 where the patch of the largest p is in O, else 0
        auroc = probability that a patch of O has more attention than another patch

    Args:
        run: a run, or a step of a generation, that saved ``NEEDS``.
        boxes: for every sample its boxes: left, top, right, bottom in pixels of the original.
        image: which of the sample's images.

    Returns:
        ``mass``, ``lift``, ``hit``, ``auroc`` (sample, layer, head) and ``area`` (sample): what
        mass and hit are for attention that knows nothing; a lift of 1 and an auroc of 0.5 say the
        same. NaN where a head gives the image nothing, or where all patches or none are O.

    Raises:
        InputError: not one list of boxes a sample, or images of unknown size.
        EmptySelectionError: a sample without that image, or boxes that hold no patch.

    Source:
        The hit is the pointing game of Zhang et al. 2018, "Top-down Neural Attention by
        Excitation Backprop"; auroc as in Chen et al. 2025 (AdaptVis), arXiv:2503.01773.

    Examples:
        >>> run = model.run(model.inputs([sample]), save=vl.probes.overlap.NEEDS)
        >>> found = vl.probes.object_overlap(run, [[(0, 0, 112, 224)]])
        >>> found.area.item(), found.mass.dims  # the left half of the picture
        (0.5, ('sample', 'layer', 'head'))
    """
    layouts = run.inputs.layouts
    if len(boxes) != len(layouts):
        raise InputError(f"boxes of {len(boxes)} samples for {len(layouts)}: give a list for each")
    rows = run.saved.stack(LAST_ROWS)[..., -1, :].float().cpu().numpy()
    found: dict[str, list[np.ndarray]] = {"mass": [], "lift": [], "hit": [], "auroc": []}
    areas = []
    for index, (layout, own) in enumerate(zip(layouts, boxes, strict=True)):
        here = layout.vision(image)
        inside = np.zeros(len(here), dtype=bool)
        for box in own:
            inside |= np.isin(here, layout.within(box, image))
        if not inside.any():
            raise EmptySelectionError(f"no patch of sample {index} lies in its boxes {own}")
        weights = rows[:, index][..., here - (len(layout) - rows.shape[-1])]
        for name, value in on_boxes(weights, inside).items():
            found[name].append(value)
        areas.append(inside.mean())
    long = {
        "mass": ("share of the image's attention on objects", "fraction"),
        "lift": ("attention on objects against their area", "ratio"),
        "hit": ("the most attended patch is on an object", "0 or 1"),
        "auroc": ("objects' patches are attended to more", "probability"),
    }
    layers = layer_numbers(run, LAST_ROWS)
    made = xr.Dataset(
        {
            name: array(
                torch.from_numpy(np.stack(values)),
                ("sample", "layer", "head"),
                run.inputs,
                name,
                *long[name],
                "arXiv:2503.01773",
                layer=layers,
            )
            for name, values in found.items()
        }
    )
    made["area"] = ("sample", np.array(areas))
    made["area"].attrs = {"long_name": "objects' share of the patches", "units": "fraction"}
    return made


def on_boxes(
    weights: Float[np.ndarray, "layer head patch"], inside: Bool[np.ndarray, " patch"]
) -> dict[str, Float[np.ndarray, "layer head"]]:
    """Mass, lift, hit and auroc of weights that need not sum to 1."""
    total = weights.sum(-1)
    known = total > 0
    mass = np.divide(
        weights[..., inside].sum(-1), total, out=np.full_like(total, np.nan), where=known
    )
    most = inside[weights.argmax(-1)].astype(float)
    many, others = int(inside.sum()), int((~inside).sum())
    ranks = rankdata(weights, axis=-1)[..., inside].sum(-1)
    auroc = (ranks - many * (many + 1) / 2) / (many * others) if others else np.nan
    return {
        "mass": mass,
        "lift": mass / inside.mean(),
        "hit": np.where(known, most, np.nan),
        "auroc": np.where(known, auroc, np.nan),
    }
