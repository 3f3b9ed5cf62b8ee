"""The row that predicts the next token, step by step: what attention measures have in common."""

from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Float
from torch import Tensor

from vlmlens.cache import Save
from vlmlens.errors import EmptySelectionError, InputError
from vlmlens.layout import TokenLayout
from vlmlens.model import Generation, Run
from vlmlens.tensors import onto

#: The last row of every layer's pattern: in a prompt the row that predicts the first new token.
LAST_ROWS = Save("blocks.*.attn.hook_pattern", rows="last")
STEPS = ("mean", "sums", "each")

#: (weights of one sample, its layout so far, which sample it is) -> one number a head, or more.
Measure = Callable[[Float[Tensor, "layer head key"], TokenLayout, int], Float[Tensor, "..."]]


def by_step(
    run: Run | Generation, measure: Measure
) -> tuple[Float[Tensor, "step sample ..."], Bool[Tensor, "step sample"]]:
    """A measure of every step's last attention row.

    Args:
        run: a run or generation that saved ``LAST_ROWS``.
        measure: of one sample's weights over all its keys.

    Returns:
        (step, sample, ...) on the CPU; and which steps are the sample's own: after its end token
        a batch goes on, but nothing of it is the sample's.

    Raises:
        UnknownPointError: the run saved no rows.
    """
    found, own = [], []
    for number, step in enumerate(run.steps):
        rows = step.saved.stack(LAST_ROWS)[..., -1, :].float()  # layer batch head key
        layouts = step.inputs.layouts
        found.append(torch.stack([measure(rows[:, i], lay, i) for i, lay in enumerate(layouts)]))
        whole = torch.ones(len(layouts), dtype=torch.bool)
        own.append(run.lengths.cpu() > number if isinstance(run, Generation) else whole)
    return torch.stack([x.cpu() for x in found]), torch.stack(own)


def own_mean(
    values: Float[Tensor, "step sample ..."], own: Bool[Tensor, "step sample"]
) -> Float[Tensor, "sample ..."]:
    """The mean over each sample's own steps; NaN where one of them is."""
    seen = own.reshape(*own.shape, *[1] * (values.ndim - 2))
    return torch.where(seen, values, 0.0).sum(0) / seen.sum(0)


def own_only(
    values: Float[Tensor, "step sample ..."], own: Bool[Tensor, "step sample"]
) -> Float[Tensor, "sample step ..."]:
    """(sample, step, ...), NaN after each sample's end."""
    seen = own.reshape(*own.shape, *[1] * (values.ndim - 2))
    return torch.where(seen, values, torch.nan).transpose(0, 1)


def masks(
    layout: TokenLayout,
    index: int,
    size: int,
    groups: tuple[tuple[str, ...], ...],
    without: xr.DataArray | None,
) -> list[Bool[Tensor, " key"]]:
    """Which of the last ``size`` positions play each group's roles, some positions left out.

    Raises:
        EmptySelectionError: a group that no position of this sample is in.
        InputError: ``without`` of another batch.
    """
    kept = np.ones(len(layout), dtype=bool)
    if without is not None:
        if without.dims != ("sample", "pos") or without.sizes["pos"] > len(layout):
            raise InputError(
                f"without has {dict(without.sizes)}; it says of every (sample, pos) of these very "
                "inputs whether to leave it out: take sink_tokens of the same run"
            )
        kept[: without.sizes["pos"]] = ~without.values[index].astype(bool)
    found = []
    for roles in groups:
        mask = layout.mask(*roles) & kept
        if not mask.any():
            rest = " once the others are left out" if without is not None else ""
            what = "vision tokens" if roles == ("vision",) else f"{' or '.join(roles)} tokens"
            raise EmptySelectionError(f"sample {index} has no {what}{rest}: {layout}")
        found.append(torch.from_numpy(mask[-size:]))
    return found


def masses(
    run: Run | Generation,
    groups: tuple[tuple[str, ...], ...],
    without: xr.DataArray | None = None,
) -> tuple[Float[Tensor, "step sample layer head group"], Bool[Tensor, "step sample"]]:
    """How much weight each group of positions gets in every step's last row."""

    def measure(
        weights: Float[Tensor, "layer head key"], layout: TokenLayout, index: int
    ) -> Float[Tensor, "layer head group"]:
        chosen = masks(layout, index, weights.shape[-1], groups, without)
        return torch.stack([weights[..., onto(m, weights.device)].sum(-1) for m in chosen], -1)

    return by_step(run, measure)


def sizes(
    run: Run | Generation,
    groups: tuple[tuple[str, ...], ...],
    without: xr.DataArray | None = None,
) -> Float[np.ndarray, "sample group"]:
    """How many positions of the prompt are in each group."""
    layouts = run.steps[0].inputs.layouts
    rows = [masks(lay, i, len(lay), groups, without) for i, lay in enumerate(layouts)]
    return np.array([[float(m.sum()) for m in row] for row in rows])
