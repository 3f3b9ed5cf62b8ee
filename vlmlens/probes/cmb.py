"""Cross-modality balance: how each head divides its attention between image and text."""

import torch
import xarray as xr

from vlmlens.cache import Save
from vlmlens.errors import EmptySelectionError
from vlmlens.model import Generation, Run
from vlmlens.probes.labels import array

NEEDS = (Save("blocks.*.attn.hook_pattern", rows="last"),)


def cross_modality_balance(
    run: Run | Generation, *, text: tuple[str, ...] = ("user",)
) -> xr.DataArray:
    """Share of a head's attention to image and text that goes to the image.

    For one head at the position that predicts the next token, with a[V] its weights on the
    vision tokens and a[T] on the text:

        CMB = sum(a[V]) / (sum(a[V]) + sum(a[T]))

    By default T is what the user says. The start token, the system prompt, the template's role
    tags and generated tokens are in neither sum: they draw most of the attention and would hide
    how the two inputs that vary share the rest. For a ``Generation`` the ratio is formed at every
    step and averaged over the sample's own steps, as the paper does.

    A value of 0.75 is not "mostly image": attention that is spread evenly over all these tokens
    gives the coordinate ``uniform``, |V| / (|V| + |T|), often above 0.9. Read CMB against it.

    Args:
        run: a run or generation that saved ``NEEDS``: the last row of every pattern.
        text: the roles that T is made of. The paper's T is ``("user", "template")`` where the
            layout tells role tags apart; its sister map has ``("system",)``.

    Returns:
        (sample, layer, head), a fraction: 1 is all image, 0 is all text. NaN where a head
        attends to neither. Coordinate ``uniform`` (sample).

    Raises:
        EmptySelectionError: a sample has no vision tokens, or no such text.
        UnknownPointError: the run saved no patterns.

    Source:
        Qi et al. 2025, "Beyond Semantics", arXiv:2503.17349.
    """
    total, count, uniform = 0.0, 0.0, []
    for number, step in enumerate(run.steps):
        rows = step.saved.stack(NEEDS[0])[..., -1, :].float()  # layer batch head key
        shares = []
        for index, layout in enumerate(step.inputs.layouts):
            vision, words = layout.mask("vision"), layout.mask(*text)
            if not (vision.any() and words.any()):
                raise EmptySelectionError(
                    f"sample {index} has no vision tokens, or no {' or '.join(text)} text: {layout}"
                )
            size = rows.shape[-1]
            v, t = (torch.from_numpy(m[-size:]).to(rows.device) for m in (vision, words))
            image, said = rows[:, index, :, v].sum(-1), rows[:, index, :, t].sum(-1)
            shares.append(image / (image + said))
            if number == 0:
                uniform.append(float(vision.sum() / (vision.sum() + words.sum())))
        alive = torch.ones(len(shares), 1, 1, device=rows.device)
        if isinstance(run, Generation):
            alive = (run.lengths.to(rows.device) > number).float()[:, None, None]
        share = torch.stack(shares)
        total = total + torch.where(alive > 0, share, torch.zeros_like(share))
        count = count + alive
    return array(
        total / count,  # type: ignore[operator]
        ("sample", "layer", "head"),
        run.inputs,
        "cmb",
        "cross-modality balance",
        "fraction",
        "arXiv:2503.17349",
        uniform=("sample", uniform),
    )
