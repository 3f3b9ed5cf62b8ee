"""The residual stream by depth: how long, how much is added, how far its direction changes."""

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from vlmlens.annotations import checked
from vlmlens.cache import Save
from vlmlens.model import Run
from vlmlens.probes.labels import array, layer_numbers
from vlmlens.probes.norms import ROLES, l2
from vlmlens.tensors import suited

NEEDS = (
    Save("blocks.0.hook_resid_pre"),
    Save("blocks.*.hook_resid_post"),
    Save("blocks.*.hook_attn_out", reduce=l2),
    Save("blocks.*.hook_mlp_out", reduce=l2),
)
SOURCE = "arXiv:2512.08374"
LONG = {
    "rms": ("root mean square of the stream entering the block", "model units"),
    "attn_update": ("what attention adds, against the stream entering the block", "ratio"),
    "mlp_update": ("what the MLP adds, against the stream entering the block", "ratio"),
    "update": ("what the block adds, against the stream entering it", "ratio"),
    "cos_next": ("cosine of the stream before and after the block", "cosine"),
    "cos_first": ("cosine of the stream after the block and the embedding", "cosine"),
}


@checked
def residual_stream(run: Run, *, roles: tuple[str, ...] = ROLES) -> xr.Dataset:
    """How every block changes the residual stream, layer by layer and role by role.

    With h what enters block l, a and m what attention and MLP add, h' = h + a + m:

        rms         = |h| / sqrt(d_model)
        attn_update = |a| / |h|,   mlp_update = |m| / |h|,   update = |h' - h| / |h|
        cos_next    = cos(h', h),  cos_first = cos(h', h_0), h_0 what enters block 0

    each of a token by itself, then averaged over the tokens of a role. Small updates to long
    vectors are what "residual-scale suppression" predicts of vision tokens: a block cannot
    change their direction. (Where features are added between blocks, as by DeepStack, they
    count to the next.)

    Args:
        run: a run that saved ``NEEDS``: the stream whole, so take few samples at a time.
        roles: the roles to average over.

    Returns:
        The variables above, each (sample, layer, role). NaN where a sample has no such role, and
        of a part that a layer does not have (a convolution in the place of attention).

    Raises:
        UnknownPointError: the run did not save what this needs.
        InputError: it saved one of these in another way.

    Source:
        "The Unseen Bias", arXiv:2512.08374; Qi et al. 2025, arXiv:2503.17349, section 5 of its
        theory.

    Examples:
        >>> run = model.run(model.inputs(samples), save=vl.probes.residual.NEEDS)
        >>> found = vl.probes.residual_stream(run)
        >>> list(found)
        ['rms', 'attn_update', 'mlp_update', 'update', 'cos_next', 'cos_first']
    """
    before = first = run.saved[NEEDS[0]].float()
    layers = layer_numbers(run, NEEDS[1])
    means: dict[str, list[Tensor]] = {name: [] for name in LONG}
    for layer in layers:
        after = run.saved[Save(f"blocks.{layer}.hook_resid_post")].float()
        length = l2(before)
        found = {
            "rms": length / before.shape[-1] ** 0.5,
            "attn_update": _added(run, f"blocks.{layer}.hook_attn_out", length) / length,
            "mlp_update": _added(run, f"blocks.{layer}.hook_mlp_out", length) / length,
            "update": l2(after - before) / length,
            "cos_next": torch.cosine_similarity(after, before, dim=-1),
            "cos_first": torch.cosine_similarity(after, first, dim=-1),
        }
        for name, value in found.items():
            means[name].append(_by_role(value, run, roles))
        before = after
    dims = ("sample", "layer", "role")
    return xr.Dataset(
        {
            name: array(
                torch.stack(value, dim=1),
                dims,
                run.inputs,
                name,
                *LONG[name],
                SOURCE,
                layer=layers,
                role=list(roles),
            )
            for name, value in means.items()
        }
    )


def _added(run: Run, point: str, like: Float[Tensor, "batch pos"]) -> Float[Tensor, "batch pos"]:
    """What a point's vectors measure; NaN in layers that do not offer it."""
    there = point in run.saved
    return (
        suited(run.saved[Save(point, reduce=l2)], like)
        if there
        else torch.full_like(like, torch.nan)
    )


def _by_role(
    values: Float[Tensor, "batch pos"], run: Run, roles: tuple[str, ...]
) -> Float[Tensor, "batch role"]:
    means = torch.full((len(run.inputs), len(roles)), torch.nan)
    for index, layout in enumerate(run.inputs.layouts):
        for column, role in enumerate(roles):
            if (mask := layout.mask(role)).any():
                means[index, column] = values[index, torch.from_numpy(mask)].mean()
    return means
