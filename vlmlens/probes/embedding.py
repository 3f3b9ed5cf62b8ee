"""How long vision tokens are against the words of the embedding table: the violins' data."""

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float

from vlmlens.annotations import checked
from vlmlens.cache import Save
from vlmlens.errors import InputError
from vlmlens.model import HookedVLM, Run
from vlmlens.probes.labels import samples
from vlmlens.probes.norms import l2
from vlmlens.tensors import onto

NEEDS = (Save("hook_embed", reduce=l2),)
QUANTILES = {"q1": 0.25, "median": 0.5, "q3": 0.75}


@checked
def token_norms(run: Run) -> xr.DataArray:
    """L2 norm of every token as it enters block 0: projected vision tokens and embedded text.

    Args:
        run: a run that saved ``NEEDS``.

    Returns:
        (token,), in the model's own units, padding left out; coordinates ``role`` and ``of``,
        the sample, along ``token``. A vector for every violin: ``norms[norms.role == "vision"]``.

    Raises:
        UnknownPointError: the run did not save what this needs.
        InputError: it saved the embedding in another way, as whole vectors or some rows.

    Source:
        Qi et al. 2025, "Beyond Semantics", arXiv:2503.17349, figure 3.

    Examples:
        >>> run = model.run(model.inputs(samples[:1]), save=vl.probes.embedding.NEEDS)
        >>> found = vl.probes.token_norms(run)
        >>> dict(found.sizes), dict(found[found.role == "vision"].sizes)
        ({'token': 78}, {'token': 64})
    """
    norms = run.saved[NEEDS[0]].float().cpu().numpy()
    names = samples(run.inputs)["sample"]
    found, roles, of = [], [], []
    for index, layout in enumerate(run.inputs.layouts):
        own = ~layout.mask("pad")
        found.append(norms[index, own])
        roles += [role for role, kept in zip(layout.roles, own, strict=True) if kept]
        of += [names[index]] * int(own.sum())
    return _labelled(np.concatenate(found), roles, of)


@checked
def embedding_norms(model: HookedVLM, texts: Sequence[str] | None = None) -> xr.DataArray:
    """L2 norm of rows of the embedding table: of real captions' tokens, or of the whole table.

    Args:
        model: an open model.
        texts: captions; every token of theirs counts, as often as it comes, special tokens left
            out. None takes every row of the table once, also those that are never used.

    Returns:
        (token,), in the model's own units, as block 0 sees them (scaled where the model scales
        its embeddings); ``role`` is ``"captions"`` or ``"table"``, ``of`` the caption's number.

    Raises:
        InputError: captions without a tokenizer, or without a token.

    Source:
        Qi et al. 2025, "Beyond Semantics", arXiv:2503.17349, figure 3.

    Examples:
        >>> found = vl.probes.embedding_norms(model, ["a red circle", "a blue star"])
        >>> dict(found.sizes), found.of.values.tolist()
        ({'token': 6}, [0, 0, 0, 1, 1, 1])
    """
    table = model.hf_model.get_input_embeddings()
    device, scale = table.weight.device, abs(model.family.embed_scale(model.config))
    with torch.no_grad():
        if texts is None:
            chunks = torch.arange(table.num_embeddings, device=device).split(4096)
            norms = torch.cat([l2(table.forward(ids)).cpu() for ids in chunks]).numpy() * scale
            return _labelled(norms, ["table"] * len(norms), [0] * len(norms))
        if model.processor is None:
            raise InputError("captions need a tokenizer: this model was opened without a processor")
        tokenizer = model.processor.tokenizer
        found = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        if not any(found):
            raise InputError("the captions hold no token")
        flat = onto(torch.tensor([i for ids in found for i in ids]), device)
        norms = l2(table.forward(flat)).cpu().numpy() * scale
    of = [number for number, ids in enumerate(found) for _ in ids]
    return _labelled(norms, ["captions"] * len(norms), of)


@checked
def quartiles(norms: xr.DataArray) -> xr.Dataset:
    """What a violin shows, role by role.

    Args:
        norms: of ``token_norms`` and ``embedding_norms``, concatenated as one likes.

    Returns:
        ``n``, ``mean``, ``min``, ``q1``, ``median``, ``q3``, ``max`` over ``role``, in the norms'
        units.

    Examples:
        >>> run = model.run(model.inputs(samples[:1]), save=vl.probes.embedding.NEEDS)
        >>> found = vl.probes.quartiles(vl.probes.token_norms(run))
        >>> found.n.sel(role="vision").item(), bool((found.q1 <= found["median"]).all())
        (64.0, True)
    """
    roles = list(dict.fromkeys(norms["role"].values.tolist()))
    parts = [norms.values[norms["role"].values == role] for role in roles]
    cells = {
        "n": [float(len(x)) for x in parts],
        "mean": [x.mean() for x in parts],
        "min": [x.min() for x in parts],
        **{name: [np.quantile(x, q) for x in parts] for name, q in QUANTILES.items()},
        "max": [x.max() for x in parts],
    }
    return xr.Dataset(
        {name: ("role", np.array(cell, dtype=float)) for name, cell in cells.items()},
        coords={"role": roles},
        attrs=dict(norms.attrs),
    )


def _labelled(norms: Float[np.ndarray, " token"], roles: list[str], of: list) -> xr.DataArray:
    return xr.DataArray(
        norms,
        dims=("token",),
        coords={"role": ("token", roles), "of": ("token", of)},
        name="token_norm",
        attrs={"long_name": "L2 norm", "units": "model units", "source": "arXiv:2503.17349"},
    )
