"""Crops: a region of a picture and what lies around it."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from PIL import Image

from vlmlens.errors import InputError
from vlmlens.layout import EDGES
from vlmlens.plots.theme import GRID
from vlmlens.sample import Sample

#: How much of the picture stands around a region, in its own widths.
AROUND = 1.5


def around(
    samples: Sequence[Sample], region: xr.Dataset, side: int
) -> tuple[Image.Image, tuple[float, float, float, float]]:
    """A region with what lies around it, as a square, and where the region is in it.

    Args:
        samples: those that were run, in order.
        region: one of ``probes.most_active``.
        side: of the square, in pixels.

    Raises:
        InputError: a region without a box, or of a sample that is not here.
        ImageError: the picture cannot be read.
    """
    number, image = int(region["sample"]), int(region["image"])
    if number >= len(samples) or image >= len(samples[number].images or ()):
        raise InputError(
            f"a region is of picture {image} of sample {number}, and there are {len(samples)} "
            "samples here: pass those that were run, in order"
        )
    left, top, right, bottom = (float(region[edge]) for edge in EDGES)
    if np.isnan(left):
        raise InputError(
            "a region has no box: pass what probes.most_active gives with positions='vision'"
        )
    picture = samples[number].pictures()[image]
    wide = max(right - left, bottom - top) * (1 + 2 * AROUND)
    x, y = (left + right) / 2 - wide / 2, (top + bottom) / 2 - wide / 2
    crop = Image.new("RGB", (round(wide), round(wide)), GRID)  # beyond the picture: nothing
    crop.paste(picture.convert("RGB"), (-round(x), -round(y)))
    crop = crop.resize((side, side), Image.Resampling.NEAREST if wide < side else None)
    scale = side / wide
    box = ((left - x) * scale, (top - y) * scale, (right - x) * scale, (bottom - y) * scale)
    return crop, box
