"""What attention brings from a token: its weight, and how much the token's value holds."""

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from vlmlens.annotations import checked
from vlmlens.cache import Save
from vlmlens.checks import one_of
from vlmlens.errors import InputError
from vlmlens.model import HookedVLM, Inputs
from vlmlens.model.reading.weights import weight
from vlmlens.positions import Positions
from vlmlens.probes.labels import array
from vlmlens.tensors import onto

NEEDS = ()
#: What is measured, the dimensions of it, and where it comes from.
WAYS = {
    "value": (("sample", "layer", "head", "pos"), "arXiv:2406.12335"),
    "head": (("sample", "layer", "head", "pos"), "arXiv:2004.10102"),
    "stream": (("sample", "layer", "pos"), "arXiv:2602.00247"),
}


@checked
def attention_contribution(
    model: HookedVLM, inputs: Inputs, *, by: str = "stream", at: Positions = "last"
) -> xr.DataArray:
    """How much a position takes from every token, by weight and value, not by weight alone.

    With a head's weight a[k] on token k, the token's value v[k] and the head's output matrix W_O,

        value:  a[k] |v[k]|
        head:   a[k] |v[k] W_O|
        stream: |sum over heads of a[k] v[k] W_O|

    in L2 norms. A sink draws weight with a value that is next to nothing: its contribution is
    small. What heads write against each other counts by ``"head"``, and not by ``"stream"``.
    Biases, and norms that come after (Gemma), are left out.

    Args:
        model: an open model.
        inputs: whole prompts, from ``model.inputs``.
        by: ``"value"``, ``"head"`` or ``"stream"``.
        at: the position that takes, one a sample.

    Returns:
        (sample, layer, pos), with ``head`` but by stream, in the stream's units; NaN at padding.
        Coordinate ``role`` (sample, pos). ``patch_map`` lays the image's tokens on their grid.

    Raises:
        InputError: no such way, several positions a sample.
        UnsupportedModelError: weights that are not at hand.

    Source: by head Kobayashi et al. 2020, "Attention is Not Only a Weight", arXiv:2004.10102; by
    value arXiv:2406.12335; by stream Jha and Kim 2026,
    "CAPA", arXiv:2602.00247, as others report its equation 2.

    Examples:
        >>> inputs = model.inputs(samples[:2])
        >>> found = vl.probes.attention_contribution(model, inputs)
        >>> dict(found.sizes)
        {'sample': 2, 'layer': 4, 'pos': 80}
        >>> heads = vl.probes.attention_contribution(model, inputs, by="head")
        >>> bool((heads.sum("head") >= found - 1e-4).where(found.notnull(), True).all())
        True
    """
    one_of(by, "by", WAYS)
    names = model.matching("blocks.*.attn.hook_pattern")
    layers = [int(model.hook_dict[name].point.layer or 0) for name in names]
    saves = [Save("blocks.*.attn.hook_pattern", at), Save("blocks.*.attn.hook_v")]
    saved = model.run(inputs, save=saves, logits=False).saved
    found = []
    for layer in layers:
        pattern, values = saved["pattern", layer].float(), saved["v", layer].float()
        if pattern.shape[2] != 1:
            raise InputError(f"at={at!r} are {pattern.shape[2]} positions a sample: one is wanted")
        matrix = weight(model, f"blocks.{layer}", "attn", "W_O").float()
        values = values.repeat_interleave(pattern.shape[1] // values.shape[2], dim=2)
        found.append(_taken(by, pattern[:, :, 0], values, onto(matrix, values.device)))
    made = torch.stack([x.cpu() for x in found], 1)
    pad = torch.from_numpy(np.stack([layout.mask("pad") for layout in inputs.layouts]))
    pad = pad.reshape(len(pad), *[1] * (made.ndim - 2), -1)
    dims, source = WAYS[by]
    roles = (("sample", "pos"), np.array([layout.roles for layout in inputs.layouts]))
    said = ("contribution", "what is taken from the token", "the stream's", source)
    return array(made.masked_fill(pad, torch.nan), dims, inputs, *said, layer=layers, role=roles)


def _taken(
    by: str,
    pattern: Float[Tensor, "sample head key"],
    values: Float[Tensor, "sample key head d_head"],
    matrix: Float[Tensor, "head d_head d_model"],
) -> Float[Tensor, "sample ..."]:
    """One layer's contributions of all keys."""
    if by == "stream":
        return torch.einsum("shk,skhd,hdm->skm", pattern, values, matrix).norm(dim=-1)
    if by == "value":
        return pattern * values.norm(dim=-1).transpose(1, 2)
    square = torch.einsum("hdm,hem->hde", matrix, matrix)
    sizes = torch.einsum("skhd,hde,skhe->shk", values, square, values)
    return pattern * sizes.clamp_min(0).sqrt()
