"""How far an edit moves what the model says next."""

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from vlmlens.annotations import checked
from vlmlens.errors import InputError
from vlmlens.layout import TokenLayout
from vlmlens.model import Run
from vlmlens.probes.labels import array


@checked
def output_divergence(edited: Run, clean: Run) -> xr.Dataset:
    """KL of the next token's distribution, clean against edited, where the answer begins.

        kl = sum_t p_clean(t) (log p_clean(t) - log p_edited(t))

    at the position that predicts the first token in the role ``assistant``; for inputs without
    an answer, at the last one.

    Args:
        edited: a run under interventions.
        clean: a run of the same samples without them. The inputs may differ in length, as where
            an intervention drops tokens.

    Returns:
        ``kl`` (sample), in nats, 0: nothing changed; ``agree`` (sample), 1 where both find the
        same token likeliest; ``top_drop`` (sample), by how much the probability of the clean
        run's likeliest token falls.

    Raises:
        InputError: runs of different batches, or of different vocabularies.

    Examples:
        >>> from vlmlens.interventions import PermuteVision
        >>> inputs = model.inputs(samples)
        >>> shuffled = model.run(inputs, [PermuteVision(seed=0)])
        >>> found = vl.probes.output_divergence(shuffled, model.run(inputs))
        >>> found.kl.dims, bool((found.kl > 0).all())
        (('sample',), True)
    """
    if len(edited.inputs) != len(clean.inputs) or edited.inputs.samples != clean.inputs.samples:
        raise InputError("the two runs are of different samples: compare the same batch")
    p, q = (_next(run) for run in (clean, edited))
    if p.shape != q.shape:
        raise InputError(f"vocabularies of {p.shape[1]} and {q.shape[1]} tokens do not compare")
    top = p.argmax(-1)
    fall = (p.exp() - q.exp()).gather(1, top[:, None])[:, 0]
    kl = (p.exp() * (p - q)).sum(-1).clamp(min=0.0)
    names = {
        "kl": (kl, "KL of the next token, clean || edited", "nats"),
        "agree": ((q.argmax(-1) == top).float(), "same likeliest token", "0 or 1"),
        "top_drop": (fall, "fall of the clean run's likeliest token", "probability"),
    }
    return xr.Dataset(
        {
            name: array(x, ("sample",), clean.inputs, name, long, units, "plain")
            for name, (x, long, units) in names.items()
        }
    )


def _next(run: Run) -> Float[Tensor, "sample vocab"]:
    """Log probabilities of the first token of the answer, or of what comes after the prompt."""
    size = run.logits.shape[1]
    at = [begins(layout) - (len(layout) - size) for layout in run.inputs.layouts]
    rows = run.logits[torch.arange(len(at)), torch.tensor(at)]
    return rows.float().log_softmax(-1).cpu()


def begins(layout: TokenLayout) -> int:
    """The position that predicts the answer's first token."""
    if len(layout.answer()):
        return int(layout.telling()[0])
    return int(np.flatnonzero(~layout.mask("pad"))[-1])
