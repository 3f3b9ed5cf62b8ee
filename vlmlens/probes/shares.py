"""Attention shares: which part of the prompt gets how much."""

import numpy as np
import torch
import xarray as xr

from vlmlens.annotations import checked
from vlmlens.errors import InputError
from vlmlens.layout import ROLES
from vlmlens.model import Generation, Run
from vlmlens.probes.cmb import PAPER_TEXT
from vlmlens.probes.labels import array, layer_numbers
from vlmlens.probes.steps import LAST_ROWS, STEPS, by_step, own_mean, own_only

NEEDS = (LAST_ROWS,)
#: Roles that can be attended to. What is generated plays ``assistant``.
SEEN = tuple(role for role in ROLES if role != "pad")


@checked
def attention_shares(run: Run | Generation, *, steps: str = "mean") -> xr.DataArray:
    """How much of a head's attention goes to each role; the roles' shares sum to 1.

        share[r] = sum of the weights on the positions of role r

    at the position that predicts the next token, averaged over a generation's own steps. The
    start token is an ordinary role here: it often takes most of it.

    Args:
        run: a run or generation that saved ``NEEDS``.
        steps: ``"mean"`` over a sample's own steps, or ``"each"``.

    Returns:
        (sample, layer, head, role) or (sample, step, layer, head, role), fractions; 0 for a role
        that no position plays. NaN after a sample's end.

    Raises:
        InputError: an unknown ``steps``.

    Examples:
        >>> run = model.run(model.inputs(samples), save=vl.probes.shares.NEEDS)
        >>> found = vl.probes.attention_shares(run)
        >>> dict(found.sizes), np.allclose(found.sum("role"), 1)
        ({'sample': 4, 'layer': 4, 'head': 4, 'role': 6}, True)
    """
    if steps not in STEPS or steps == "sums":
        raise InputError(f"steps={steps!r}; there is: mean, each")
    found, own = _by_role(run)
    values = own_only(found, own) if steps == "each" else own_mean(found, own)
    middle = ("step",) if steps == "each" else ()
    return array(
        values,
        ("sample", *middle, "layer", "head", "role"),
        run.inputs,
        "attention_share",
        "share of attention",
        "fraction",
        "plain",
        role=list(SEEN),
        layer=layer_numbers(run, LAST_ROWS),
    )


@checked
def paper_shares(run: Run | Generation) -> xr.Dataset:
    """The paper's pies: system prompt, image and user's text, the start token set aside.

    At every step, per layer: heads averaged, the start token's entry set to 0, the row
    renormalised; then layers averaged, and with s, v, t the sums over system prompt, image, and
    the user's text with role tags:

        share = (s, v, t) / (s + v + t)        vision_of_both = v / (v + t)

    The ratios are formed at every decoding step and then averaged over the sample's own steps, as
    the released code does. (Of one step it is the same to average first; of more it is not.)

    This is not CMB, which is a ratio per head.

    Args:
        run: a run or generation that saved ``NEEDS``.

    Returns:
        ``share`` (sample, part), fractions that sum to 1; ``vision_of_both`` (sample), the image's
        share with the system prompt masked. NaN where nothing but the start token is attended to.

    Source:
        Qi et al. 2025, "Beyond Semantics", arXiv:2503.17349, table of 20 COCO images, and its
        released code.

    Examples:
        >>> run = model.run(model.inputs(samples), save=vl.probes.shares.NEEDS)
        >>> found = vl.probes.paper_shares(run).share
        >>> found.part.values.tolist(), np.allclose(found.sum("part"), 1)
        (['system', 'vision', 'user'], True)
    """
    found, own = _by_role(run)
    heads = found.mean(3)  # step sample layer role
    at = {role: SEEN.index(role) for role in SEEN}
    rest = heads / (1 - heads[..., at["bos"], None])
    row = rest.mean(2)  # step sample role
    parts = torch.stack(
        [
            row[..., at["system"]],
            row[..., at["vision"]],
            sum(row[..., at[role]] for role in PAPER_TEXT),  # type: ignore[arg-type]
        ],
        dim=-1,
    )
    both = parts[..., 1] / parts[..., 1:].sum(-1)
    source = "arXiv:2503.17349"
    share = array(
        own_mean(parts / parts.sum(-1, keepdim=True), own),
        ("sample", "part"),
        run.inputs,
        "share",
        "share of attention, start token set aside",
        "fraction",
        source,
        part=["system", "vision", "user"],
    )
    alone = array(
        own_mean(both, own),
        ("sample",),
        run.inputs,
        "vision_of_both",
        "the image's share, system prompt masked",
        "fraction",
        source,
    )
    return xr.Dataset({"share": share, "vision_of_both": alone})


def _by_role(run: Run | Generation):
    def measure(weights, layout, index):
        size = weights.shape[-1]
        kinds = np.array([layout.mask(role)[-size:] for role in SEEN])
        return weights @ torch.from_numpy(kinds).to(weights).T

    return by_step(run, measure)
