"""Cross-modality balance: how each head divides its attention between image and text."""

import torch
import xarray as xr

from vlmlens.annotations import checked
from vlmlens.errors import InputError
from vlmlens.model import Generation, Run
from vlmlens.probes.labels import array, layer_numbers
from vlmlens.probes.steps import LAST_ROWS, STEPS, masses, own_mean, own_only, sizes

NEEDS = (LAST_ROWS,)
#: The paper's text: everything of the prompt but start token and system prompt.
PAPER_TEXT = ("user", "template")


@checked
def cross_modality_balance(
    run: Run | Generation,
    *,
    text: tuple[str, ...] = ("user",),
    image: tuple[str, ...] = ("vision",),
    steps: str = "mean",
    without: xr.DataArray | None = None,
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
    gives the coordinate ``uniform``, |V| / (|V| + |T|), often above 0.9. Read CMB against it, or
    take ``modality_dominance``.

    Args:
        run: a run or generation that saved ``NEEDS``: the last row of every pattern.
        text: the roles that T is made of. ``("system",)`` gives the paper's sister map;
            ``("user", "assistant")`` counts generated tokens as text.
        image: the roles that V is made of.
        steps: ``"mean"`` of the steps' ratios (the paper's), ``"sums"`` for the ratio of the
            sums over steps, ``"each"`` for every step's own.
        without: (sample, pos), true where a position counts for nothing, such as ``sink`` of
            ``sink_tokens``.

    Returns:
        (sample, layer, head), with ``"each"`` (sample, step, layer, head); a fraction: 1 is all
        image, 0 is all text. NaN where a head attends to neither, and after a sample's end.
        Coordinate ``uniform`` (sample), of the prompt.

    Raises:
        EmptySelectionError: a sample has no vision tokens, or no such text.
        InputError: an unknown ``steps``, a role in both sets, ``without`` of other inputs.
        UnknownPointError: the run saved no patterns.

    Source:
        Qi et al. 2025, "Beyond Semantics", arXiv:2503.17349.

    Examples:
        >>> run = model.run(model.inputs(samples), save=vl.probes.cmb.NEEDS)
        >>> found = vl.probes.cross_modality_balance(run)
        >>> dict(found.sizes)
        {'sample': 4, 'layer': 4, 'head': 4}
        >>> found.uniform.values.round(2).tolist()
        [0.9, 0.88, 0.9, 0.9]
    """
    return _balance(run, text, image, steps, without, least=0.0)


@checked
def paper_balance(run: Run | Generation, *, against: str = "user") -> xr.DataArray:
    """CMB to the letter of the paper's released code.

    T is the prompt before and after the image without start token and system prompt: the
    question AND the template's role tags. Ratios have max(sum, 1e-8) below, so that a head which
    attends to neither has 0, not NaN.

    Args:
        run: a generation (or run) that saved ``NEEDS``.
        against: ``"user"``, or ``"system"`` for the sister map against the system prompt.

    Returns:
        (sample, layer, head), as ``cross_modality_balance``.

    Source:
        Qi et al. 2025, "Beyond Semantics", arXiv:2503.17349, released code.

    Examples:
        >>> inputs = model.inputs(samples)
        >>> run = model.generate(inputs, save=vl.probes.cmb.NEEDS, max_new_tokens=2)
        >>> found = vl.probes.paper_balance(run)
        >>> found.dims, bool((found <= vl.probes.cross_modality_balance(run)).all())
        (('sample', 'layer', 'head'), True)
    """
    if against not in ("user", "system"):
        raise InputError(f"against={against!r}; there is: user, system")
    text = PAPER_TEXT if against == "user" else ("system",)
    return _balance(run, text, ("vision",), "mean", None, least=1e-8)


def _balance(
    run: Run | Generation,
    text: tuple[str, ...],
    image: tuple[str, ...],
    steps: str,
    without: xr.DataArray | None,
    least: float,
) -> xr.DataArray:
    if steps not in STEPS:
        raise InputError(f"steps={steps!r}; there is: {', '.join(STEPS)}")
    if both := set(text) & set(image):
        raise InputError(f"{', '.join(sorted(both))} cannot be both text and image")
    found, own = masses(run, (image, text), without)
    if steps == "sums":
        found = own_mean(found, own)[None]
        own = own[:1]
    share = found[..., 0] / found.sum(-1).clamp(min=least)
    values = own_only(share, own) if steps == "each" else own_mean(share, own)
    dims = ("sample", "step", "layer", "head") if steps == "each" else ("sample", "layer", "head")
    counts = sizes(run, (image, text), without)
    return array(
        values,
        dims,
        run.inputs,
        "cmb",
        "cross-modality balance",
        "fraction",
        "arXiv:2503.17349",
        uniform=("sample", counts[:, 0] / counts.sum(1)),
        layer=layer_numbers(run, LAST_ROWS),
    )


@checked
def modality_dominance(
    run: Run | Generation,
    *,
    text: tuple[str, ...] = ("user",),
    image: tuple[str, ...] = ("vision",),
    without: xr.DataArray | None = None,
) -> xr.Dataset:
    """Attention per token: what one vision token gets against one token of text.

    With the sums A_V, A_T of the last row's weights (averaged over a generation's own steps) and
    the numbers of tokens |V|, |T| in the prompt:

        per_token = (A_V / |V|) / (A_T / |T|)            1: alike; below 1: text gets more
        mdi       = 1 / per_token                        modality dominance index, of text
        aei       = CMB / uniform, uniform = |V| / (|V| + |T|)
                                                         attention efficiency, of the image

    ``aei`` is the lift of CMB over attention spread evenly.

    Args:
        run: a run or generation that saved ``NEEDS``.
        text: the roles of T.
        image: the roles of V.
        without: positions that count for nothing, as in ``cross_modality_balance``.

    Returns:
        Variables ``per_token``, ``mdi`` and ``aei``, each (sample, layer, head), ratios. Infinite
        where the other modality gets nothing at all; NaN where neither gets anything.

    Raises:
        EmptySelectionError: a sample has no vision tokens, or no such text.

    Source:
        Wu et al. 2025, "When Language Overrules", arXiv:2508.10552.

    Examples:
        >>> run = model.run(model.inputs(samples), save=vl.probes.cmb.NEEDS)
        >>> found = vl.probes.modality_dominance(run)
        >>> found.aei.dims, np.allclose(found.per_token * found.mdi, 1)
        (('sample', 'layer', 'head'), True)
    """
    found, own = masses(run, (image, text), without)
    weights = own_mean(found, own)
    counts = torch.from_numpy(sizes(run, (image, text), without)).float()
    dense = weights / counts[:, None, None]
    uniform = (counts[:, 0] / counts.sum(1))[:, None, None]
    names = {
        "per_token": (dense[..., 0] / dense[..., 1], "attention to a vision token / to a word"),
        "mdi": (dense[..., 1] / dense[..., 0], "modality dominance index, of text"),
        "aei": (weights[..., 0] / weights.sum(-1) / uniform, "attention efficiency of the image"),
    }
    dims = ("sample", "layer", "head")
    layers = layer_numbers(run, LAST_ROWS)
    return xr.Dataset(
        {
            name: array(x, dims, run.inputs, name, long, "ratio", "arXiv:2508.10552", layer=layers)
            for name, (x, long) in names.items()
        }
    )
