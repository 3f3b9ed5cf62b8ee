"""How much of its pictures a model is shown at all."""

import numpy as np
import torch
import xarray as xr

from vlmlens.annotations import checked
from vlmlens.layout import TokenLayout
from vlmlens.model import Generation, Run
from vlmlens.probes.labels import array


@checked
def share_seen(run: Run | Generation) -> xr.DataArray:
    """Share of a sample's pictures that its patches look at: what no crop hides.

    Args:
        run: any run; it need save nothing.

    Returns:
        (sample,), a fraction of the originals' pixels, over all of a sample's pictures: 1 is
        everything. NaN without pictures, or where their sizes are unknown.

    Examples:
        >>> vl.probes.share_seen(model.run(model.inputs(samples))).values.tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    shares = [_of(layout) for layout in run.steps[0].inputs.layouts]
    found = array(
        torch.tensor(shares, dtype=torch.float64),
        ("sample",),
        run.inputs,
        "seen",
        "share of the pictures that the model is shown",
        "fraction",
        "",
    )
    del found.attrs["source"]  # a matter of geometry
    return found


def _of(layout: TokenLayout) -> float:
    sizes = [layout.sizes[n] if n < len(layout.sizes) else None for n in range(layout.images)]
    known = [size[0] * size[1] for size in sizes if size is not None]
    if not known or len(known) < len(sizes):
        return float("nan")
    return float(np.average([layout.seen(n) for n in range(len(sizes))], weights=known))
