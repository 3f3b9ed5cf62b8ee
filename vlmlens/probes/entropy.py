"""How evenly a head's attention lies over the image."""

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from vlmlens.annotations import checked
from vlmlens.layout import TokenLayout
from vlmlens.model import Generation, Run
from vlmlens.probes.labels import array, layer_numbers
from vlmlens.probes.steps import LAST_ROWS, by_step, masks, own_mean
from vlmlens.tensors import onto

NEEDS = (LAST_ROWS,)


@checked
def attention_entropy(
    run: Run | Generation, *, without: xr.DataArray | None = None
) -> xr.DataArray:
    """Normalised entropy of the attention over the vision tokens.

    With p the last row's weights on the vision tokens V, divided by their sum:

        H = - sum p log2 p / log2 |V|

    averaged over a generation's own steps.

    Args:
        run: a run or generation that saved ``NEEDS``.
        without: (sample, pos), true where a position counts for nothing (``sink_tokens``): one
            sink among the patches can make an even head look peaked.

    Returns:
        (sample, layer, head), a fraction: 1 is spread evenly, 0 all on one patch. NaN where a
        head gives the image nothing, or where there is only one vision token.

    Raises:
        EmptySelectionError: a sample has no vision tokens.
        UnknownPointError: the run saved no rows.

    Source:
        Qi et al. 2025, "Beyond Semantics", arXiv:2503.17349.

    Examples:
        >>> run = model.run(model.inputs(samples), save=vl.probes.entropy.NEEDS)
        >>> found = vl.probes.attention_entropy(run)
        >>> dict(found.sizes), bool(((found >= 0) & (found <= 1)).all())
        ({'sample': 4, 'layer': 4, 'head': 4}, True)
    """

    def measure(
        weights: Float[Tensor, "layer head key"], layout: TokenLayout, index: int
    ) -> Float[Tensor, "layer head"]:
        (vision,) = masks(layout, index, weights.shape[-1], (("vision",),), without)
        return entropy(weights[..., onto(vision, weights.device)])

    return array(
        own_mean(*by_step(run, measure)),
        ("sample", "layer", "head"),
        run.inputs,
        "entropy",
        "normalised entropy of attention over the image",
        "fraction",
        "arXiv:2503.17349",
        layer=layer_numbers(run, LAST_ROWS),
    )


def entropy(weights: Float[Tensor, "*lead patch"]) -> Float[Tensor, "*lead"]:
    """Entropy of weights that need not sum to 1, as a fraction of an even spread's."""
    p = weights / weights.sum(-1, keepdim=True)
    bits = -torch.special.xlogy(p, p).sum(-1)
    return bits / torch.log(torch.tensor(float(weights.shape[-1])))
