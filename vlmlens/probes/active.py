"""Where a feature is most active: in which pictures, at which patches and words."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from vlmlens.annotations import checked
from vlmlens.checks import flag, shown, whole
from vlmlens.errors import InputError
from vlmlens.layout import EDGES
from vlmlens.model import Run
from vlmlens.positions import Positions, chosen

#: Bins of the histogram of what is above zero.
BINS = 20


@checked
def most_active(
    runs: Run | Sequence[Run],
    point: str,
    feature: int,
    *,
    positions: Positions = "vision",
    count: int = 12,
    apart: bool = True,
) -> xr.Dataset:
    """The tokens at which a feature is most active, and how often it is active at all.

    Args:
        runs: one or more runs (batches) that saved ``point``; samples count on through them.
        point: a point with one number a feature: of a dictionary that is spliced in, or neurons.
        feature: its number.
        positions: among which tokens: ``"vision"`` for regions, ``"user"`` for words.
        count: how many tokens, at most; only those where it is above zero.
        apart: whether at most one token of each sample.

    Returns:
        Over ``rank``: ``activation``, with the coordinates ``sample`` (its number), ``position``,
        ``token``, ``role``, ``image``, ``tile``, ``row``, ``column``, and ``left``, ``top``,
        ``right``, ``bottom`` in pixels of the original (NaN off the image). Over ``bin``:
        ``tokens``, how many lie in each of twenty equal steps from 0 to the largest activation,
        with the coordinate ``above``. And ``density``, the share of these tokens where it is above
        zero, and ``n``, how many tokens there are.

    Raises:
        InputError: a point that was not saved so, or a feature that is none of it.
        EmptySelectionError: a sample without such positions.

    Source: after the dashboards of Bricken et al. 2023, "Towards Monosemanticity".

    Examples:
        >>> sae = vl.interop.sae.load("shapes-base")
        >>> point = f"{sae.point}.hook_sae_acts_post"
        >>> with model.splice(sae.point, sae):
        ...     run = model.run(model.inputs(samples), save=point)
        >>> found = vl.probes.most_active(run, point, 165, count=2, apart=False)
        >>> found.activation.dims, bool(found.activation[0] >= found.activation[1])
        (('rank',), True)
    """
    runs = [runs] if isinstance(runs, Run) else list(runs)
    count, apart = whole(count, "count", least=1), flag(apart, "apart")
    rows: list[dict[str, Any]] = []
    values: list[Float[np.ndarray, " token"]] = []
    sample = 0
    for run in runs:
        acts = _of(run, point, feature)
        for layout, own in zip(run.inputs.layouts, acts, strict=True):
            here = np.flatnonzero(chosen(layout, positions))
            values.append(own[here])
            best = here[np.argsort(-own[here], kind="stable")][: 1 if apart else count]
            rows += [_row(layout, sample, int(at), float(own[at])) for at in best if own[at] > 0]
            sample += 1
    rows = sorted(rows, key=lambda row: -row["activation"])[:count]
    every = np.concatenate(values)
    steps = np.linspace(0, max(float(every.max(initial=0)), np.finfo(np.float32).tiny), BINS + 1)
    names = ("sample", "position", "token", "role", "image", "tile", "row", "column", *EDGES)
    return xr.Dataset(
        {
            "activation": ("rank", np.array([row["activation"] for row in rows])),
            "tokens": ("bin", np.histogram(every[every > 0], steps)[0]),
            "density": ((), float((every > 0).mean())),
            "n": ((), len(every)),
        },
        {name: ("rank", np.array([row[name] for row in rows])) for name in names}
        | {"above": ("bin", steps[:-1])},
        {
            "point": point,
            "feature": feature,
            "positions": shown(positions),
            "samples": sample,
        },
    )


@checked
def direction_words(model: Any, direction: Float[Tensor, " d_model"], count: int = 8) -> xr.Dataset:
    """The tokens that a direction of the stream raises most, and lowers most, if read out alone.

    With d the direction, g the final norm's gain and U the unembedding, (d g) U less its mean over
    the vocabulary: what it adds to each logit, up to the norm's scale, which is a token's own.

    Args:
        model: a ``HookedVLM`` with a tokenizer.
        direction: a feature's row of the decoder, a steering vector, ...
        count: how many of each.

    Returns:
        Over ``rank``: ``raises`` and ``lowers``, with the coordinates ``raised`` and ``lowered``,
        the tokens' texts.

    Raises:
        InputError: a direction of another width.

    Source: nostalgebraist 2020, "interpreting GPT: the logit lens".

    Examples:
        >>> sae = vl.interop.sae.load("shapes-base")
        >>> found = vl.probes.direction_words(model, sae.W_dec[3], count=2)
        >>> found.raises.dims, bool(found.raises[0] > found.lowers[0])
        (('rank',), True)
    """
    table = model.W_U
    if direction.shape != table.shape[:1]:
        raise InputError(
            f"a direction of the shape {tuple(direction.shape)}: {tuple(table.shape[:1])}, one "
            "number a channel of the stream, is wanted"
        )
    with torch.no_grad():
        logits = (direction.to(table) * model.ln_final.w.to(table)) @ table
    logits = (logits - logits.mean()).double().cpu()
    count = min(whole(count, "count", least=1), len(logits))
    high, low = logits.topk(count), (-logits).topk(count)
    words = [[model.to_string([int(i)]) for i in found.indices] for found in (high, low)]
    return xr.Dataset(
        {"raises": ("rank", high.values.numpy()), "lowers": ("rank", -low.values.numpy())},
        {"raised": ("rank", words[0]), "lowered": ("rank", words[1])},
        {"units": "logits, up to the norm's scale"},
    )


def _row(layout: Any, sample: int, at: int, activation: float) -> dict[str, Any]:
    places = ("image", "tile", "row", "column")
    return {
        "activation": activation,
        "sample": sample,
        "position": at,
        "token": layout.tokens[at],
        "role": layout.roles[at],
        **{name: int(getattr(layout, name)[at]) for name in places if hasattr(layout, name)},
        **dict(zip(EDGES, map(float, layout.box[at]), strict=True)),
    }


def _of(run: Run, point: str, feature: int) -> Float[np.ndarray, "batch pos"]:
    """One feature of every token."""
    acts = run.saved[point]
    if acts.ndim != 3 or acts.shape[1] != len(run.inputs.layouts[0]):
        raise InputError(f"{point} was saved as {shown(acts)}: (batch, pos, feature) is wanted")
    number = whole(feature, "feature", 0, acts.shape[-1] - 1)
    return acts[..., number].detach().float().cpu().numpy()
