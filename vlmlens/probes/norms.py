"""Norms by depth: how long the residual stream's vectors are, role by role."""

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from vlmlens.annotations import checked
from vlmlens.cache import Save
from vlmlens.errors import InputError
from vlmlens.model import Run
from vlmlens.probes.cmb import PAPER_TEXT
from vlmlens.probes.labels import array


def l2(x: Float[Tensor, "*lead d_model"]) -> Float[Tensor, "*lead"]:
    """The L2 norm of every token."""
    return x.float().norm(dim=-1)


NEEDS = (
    Save("blocks.*.hook_resid_pre", reduce=l2),
    Save("ln_final.hook_normalized", reduce=l2),
)
ROLES = ("system", "user", "vision")


@checked
def hidden_norms(run: Run, *, roles: tuple[str, ...] = ROLES, tags: bool = False) -> xr.DataArray:
    """Mean L2 norm of the hidden states by depth and role.

    ``depth`` counts transformers' hidden states: 0 is what enters block 0, d what enters block d,
    and the last one is AFTER the final norm, so it does not continue the curve; the coordinate
    ``depth_label`` says so. The start token, whose norm is often hundreds of times larger, plays
    a role of its own and is in none of these.

    Args:
        run: a run that saved ``NEEDS``.
        roles: the roles to average over.
        tags: count the template's role tags ("USER:", "ASSISTANT:") as the user's, as the paper's
            released code does. Without them ``user`` is the user's own words.

    Returns:
        (sample, depth, role), in the model's own units. NaN where a sample has no such role.

    Raises:
        UnknownPointError: the run did not save what this needs.

    Source:
        Qi et al. 2025, "Beyond Semantics", arXiv:2503.17349, figure 4; ``tags=True`` is its
        released code's.

    Examples:
        >>> run = model.run(model.inputs(samples), save=vl.probes.norms.NEEDS)
        >>> found = vl.probes.hidden_norms(run)
        >>> dict(found.sizes)
        {'sample': 4, 'depth': 5, 'role': 3}
        >>> found.depth_label[-1].item()
        'after final norm'
    """
    blocks = run.saved.stack(NEEDS[0])
    norms = torch.cat([blocks, run.saved.stack(NEEDS[1]).to(blocks.device)])  # depth batch pos
    norms = norms.cpu()
    means = torch.full((len(run.inputs), len(norms), len(roles)), torch.nan)
    for index, layout in enumerate(run.inputs.layouts):
        for column, role in enumerate(roles):
            played = PAPER_TEXT if tags and role == "user" else (role,)
            if (mask := layout.mask(*played)).any():
                means[index, :, column] = norms[:, index, torch.from_numpy(mask)].mean(-1)
    last = len(norms) - 1
    labels = ["embedding", *(f"after block {d - 1}" for d in range(1, last)), "after final norm"]
    return array(
        means,
        ("sample", "depth", "role"),
        run.inputs,
        "hidden_norm",
        "mean L2 norm of hidden states",
        "model units",
        "arXiv:2503.17349",
        depth=np.arange(last + 1),
        role=list(roles),
        depth_label=("depth", labels),
    )


@checked
def norm_ratio(norms: xr.DataArray, *, of: str = "vision", to: str = "user") -> xr.Dataset:
    """How many times longer one role's hidden states are than another's.

    Args:
        norms: of ``hidden_norms``.
        of: the role above.
        to: the role below.

    Returns:
        ``ratio`` (sample, depth), 1: alike; ``log10_ratio``, 0: alike. NaN where a role is missing.

    Raises:
        InputError: a role that the norms do not have.

    Source:
        Qi et al. 2025, "Beyond Semantics", arXiv:2503.17349, figure 4: the ratio of every image,
        then their mean.

    Examples:
        >>> run = model.run(model.inputs(samples), save=vl.probes.norms.NEEDS)
        >>> found = vl.probes.norm_ratio(vl.probes.hidden_norms(run))
        >>> found.ratio.dims, np.allclose(np.log10(found.ratio), found.log10_ratio)
        (('sample', 'depth'), True)
    """
    there = [str(role) for role in norms["role"].values]
    if missing := {of, to} - set(there):
        raise InputError(f"no norms of {', '.join(sorted(missing))}; there is: {', '.join(there)}")
    ratio = norms.sel(role=of, drop=True) / norms.sel(role=to, drop=True)
    ratio.attrs = {"long_name": f"norm of {of} / norm of {to}", "units": "ratio"}
    log = np.log10(ratio)
    log.attrs = {"long_name": f"log10 of norm of {of} / {to}", "units": "log10"}
    return xr.Dataset({"ratio": ratio, "log10_ratio": log}, attrs={"source": "arXiv:2503.17349"})
