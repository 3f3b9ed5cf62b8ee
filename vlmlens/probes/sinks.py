"""Sink tokens: positions whose activations are massive, and that draw attention for nothing."""

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from vlmlens.annotations import checked
from vlmlens.cache import Save
from vlmlens.model import Run
from vlmlens.probes.labels import array, layer_numbers

#: A token is a sink where one channel is this many times the root mean square of all.
THRESHOLD = 20.0


def peak(x: Float[Tensor, "*lead d_model"]) -> Float[Tensor, "*lead"]:
    """Every token's largest channel against the root mean square of its channels."""
    x = x.float()
    return x.abs().amax(-1) / x.square().mean(-1).sqrt()


NEEDS = (Save("blocks.*.hook_resid_pre", reduce=peak),)


@checked
def sink_tokens(run: Run, *, threshold: float = THRESHOLD) -> xr.Dataset:
    """Which positions are attention sinks, by their massive activations.

    With x a token's residual stream as it enters a block:

        peak = max_d |x[d]| / sqrt(mean_d x[d]^2)        sink: peak >= threshold in some block

    An even vector has peak 1, all in one channel sqrt(d_model); models narrower than
    threshold^2 channels have no sinks by this rule. The paper asks this of the few channels
    that are massive at the start token; here of any channel.

    Args:
        run: a run (or a generation's step 0) that saved ``NEEDS``.
        threshold: how many times the root mean square.

    Returns:
        ``peak`` (sample, layer, pos), a ratio; NaN at padding. ``sink`` (sample, pos), true or
        false, to be passed on as ``without=``; positions are those of this very batch.

    Raises:
        UnknownPointError: the run did not save what this needs.

    Source:
        Kang et al. 2025, "See What You Are Told: Visual Attention Sink in Large Multimodal
        Models", arXiv:2503.03321.

    Examples:
        >>> run = model.run(model.inputs(samples), save=vl.probes.sinks.NEEDS)
        >>> found = vl.probes.sink_tokens(run, threshold=6.0)
        >>> found.peak.dims, found.sink.dims
        (('sample', 'layer', 'pos'), ('sample', 'pos'))
    """
    found = run.saved.stack(NEEDS[0]).transpose(0, 1).float().cpu()  # batch layer pos
    pad = torch.from_numpy(np.stack([lay.mask("pad") for lay in run.inputs.layouts]))
    found = found.masked_fill(pad[:, None], torch.nan)
    peaks = array(
        found,
        ("sample", "layer", "pos"),
        run.inputs,
        "peak",
        "largest channel / root mean square",
        "ratio",
        "arXiv:2503.03321",
        layer=layer_numbers(run, NEEDS[0]),
    )
    sink = (peaks >= threshold).any("layer")
    return xr.Dataset({"peak": peaks, "sink": sink}, attrs={"threshold": threshold})
