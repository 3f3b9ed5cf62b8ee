"""Distributed alignment search: the subspace through which a variable acts, learned and tested."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Shaped
from torch import Tensor
from tqdm.auto import tqdm

from vlmlens.annotations import checked
from vlmlens.cache import ActivationCache
from vlmlens.checks import number, shown, whole
from vlmlens.errors import InputError, NonFiniteError
from vlmlens.experiments.counterfactuals import Asked, Counterfactual, Turning, cut
from vlmlens.experiments.given import as_model
from vlmlens.interventions import PatchSubspace, Stored
from vlmlens.model import HookedVLM
from vlmlens.probes.labels import samples
from vlmlens.probes.statistics import mean_map
from vlmlens.select import Where

SOURCE = "arXiv:2303.02536"
LAST = Where(positions="last")


@dataclass(frozen=True)
class Alignment:
    """A subspace of a point, at some positions, through which a variable is said to act.

    Attributes:
        point: where.
        where: at which positions.
        basis: (width, rank), orthonormal columns.
        losses: of its training, the mean of every epoch, in nats; none where it was not learned.

    Examples:
        >>> q = torch.linalg.qr(torch.randn(128, 4)).Q
        >>> found = vl.experiments.Alignment("blocks.2.hook_resid_post", basis=q)
        >>> found.rank, found.random(seed=1).rank
        (4, 4)
    """

    point: str
    where: Where = field(default_factory=lambda: LAST)
    basis: Shaped[Tensor, "..."] | Stored | None = None
    losses: tuple[float, ...] = ()

    def __post_init__(self):
        if self.basis is None:
            raise InputError("Alignment needs basis=..., orthonormal columns (width, rank)")
        object.__setattr__(self, "basis", self.edit(None).basis)

    @property
    def rank(self) -> int:
        """How many dimensions the subspace has."""
        assert isinstance(self.basis, Stored)
        return self.basis.tensor.shape[1]

    def edit(self, source: ActivationCache | None) -> PatchSubspace:
        """The interchange, from what a run of the sources saved at ``point``."""
        at = self.where.positions
        return PatchSubspace(self.point, self.where, source, None, at, self.basis)

    def random(self, seed: int = 0) -> "Alignment":
        """A subspace of the same rank, drawn by chance: the control."""
        assert isinstance(self.basis, Stored)
        drawn = torch.Generator().manual_seed(seed)
        basis = torch.linalg.qr(torch.randn(self.basis.tensor.shape, generator=drawn)).Q
        return replace(self, basis=basis, losses=())


@checked
def align(
    model: HookedVLM,
    pairs: Sequence[Counterfactual],
    point: str,
    *,
    rank: int = 1,
    where: Where = LAST,
    epochs: int = 8,
    batch: int = 16,
    rate: int | float = 0.3,
    seed: int = 0,
    system: str | None = None,
    progress: bool = True,
) -> Alignment:
    """Learn the subspace whose interchange gives counterfactual answers (DAS).

    The base is run with the source's projection on a subspace in place of its own
    (``PatchSubspace``). The subspace's basis, the Q of a matrix's QR decomposition, is trained by
    Adam so that the base is answered as it would be, were the variable the source's:

        loss = - log p(counterfactual answer's first token | interchange)

    The model's weights stay. That an answer can be moved through a subspace of some rank says
    something only beside random subspaces of that rank and on other pairs: ``interchange``.

    Args:
        model: an open model.
        pairs: (base, source, counterfactual answer); or pairs of ``counterfactual_pairs``, whose
            corrupted sample is the source and its answer the counterfactual one.
        point: where, one point of the language model such as ``"blocks.2.hook_resid_post"``.
        rank: of the subspace, at least 1.
        where: at which positions; of base and source as many, in their order.
        epochs: how often all pairs come.
        batch: pairs a step.
        rate: Adam's.
        seed: of the first basis and the order of batches.
        system: a system prompt.
        progress: show a bar.

    Returns:
        The subspace.

    Raises:
        InputError: no pairs, a rank that the point is not wide enough for, an answer that is none.
        UnknownPointError: no such point.
        NonFiniteError: a loss that is NaN or infinite.

    Source: Geiger et al. 2023, arXiv:2303.02536.

    Examples:
        >>> pairs = vl.datasets.counterfactual_pairs(8, kind="recolor", category="object")
        >>> found = vl.experiments.align(
        ...     model, pairs, "blocks.2.hook_resid_post", rank=4, epochs=2, progress=False
        ... )
        >>> found.rank, found.losses[1] < found.losses[0]
        (4, True)
    """
    as_model(model)
    whole(epochs, "epochs", least=1)
    number(rate, "rate", above=0)
    asked = [Asked.of(model, some, point, system) for some in cut(pairs, batch)]
    width = asked[0].source[point].shape[-1]
    whole(rank, "rank", least=1, most=width)
    drawn = torch.Generator().manual_seed(whole(seed, "seed", least=0))
    free = torch.randn(width, rank, generator=drawn).to(model.device).requires_grad_()
    adam, losses = torch.optim.Adam([free], lr=rate), []
    bar = tqdm(total=epochs * len(asked), desc="align", disable=not progress)
    with bar:
        for _ in range(epochs):
            total = 0.0
            for at in torch.randperm(len(asked), generator=drawn).tolist():
                own = asked[at]
                with torch.enable_grad():
                    edit = Turning.of(point, where, own.source, torch.linalg.qr(free).Q)
                    loss = -own.log_prob(model, edit, grad=True).mean()
                    (free.grad,) = torch.autograd.grad(loss, [free])
                if not bool(loss.isfinite()):
                    raise NonFiniteError(f"the loss is {float(loss)}: lower rate={rate}")
                adam.step()
                total += float(loss.detach()) * len(own.answers)
                bar.update()
            losses.append(total / len(pairs))
    return Alignment(point, where, torch.linalg.qr(free.detach()).Q.cpu(), tuple(losses))


@checked
def interchange(
    model: HookedVLM,
    pairs: Sequence[Counterfactual],
    alignment: Alignment,
    *,
    draws: int = 5,
    batch: int = 16,
    seed: int = 0,
    system: str | None = None,
) -> xr.Dataset:
    """How often an interchange gives the counterfactual answer, against random subspaces.

    Args:
        model: an open model.
        pairs: as ``align`` takes them; others than those that it learned from.
        alignment: of ``align``.
        draws: how many random subspaces of the same rank it is held against.
        batch: pairs a pass.
        seed: of the drawing.
        system: a system prompt.

    Returns:
        ``correct`` (sample), whether the counterfactual answer's first token is the likeliest of
        all; ``log_prob`` (sample), of that token, in nats; ``control`` (sample), the share of
        random subspaces that are correct; ``none`` (sample), whether it is the likeliest with no
        interchange. And ``accuracy``, ``control_accuracy``, ``gain``, the difference of the two,
        each with ``_low`` and ``_high``, 95 % intervals over pictures; fractions.

    Raises:
        InputError: as ``align``, and draws below 1.

    Source: Geiger et al. 2021, "Causal Abstractions of Neural Networks", arXiv:2106.02997
    (interchange intervention accuracy); Geiger et al. 2023, arXiv:2303.02536.

    Examples:
        >>> pairs = vl.datasets.counterfactual_pairs(4, kind="recolor", category="object")
        >>> whole = vl.experiments.Alignment("blocks.3.hook_resid_post", basis=torch.eye(128))
        >>> found = vl.experiments.interchange(model, pairs, whole, draws=1)
        >>> found.accuracy.item(), found.none.mean().item()  # all of the stream is interchanged
        (1.0, 0.0)
    """
    as_model(model)
    if not isinstance(alignment, Alignment):
        raise InputError(f"alignment={shown(alignment)}: an Alignment is wanted, of align")
    chance = [alignment.random(seed + draw) for draw in range(whole(draws, "draws", least=1))]
    columns: dict[str, list[Any]] = {"correct": [], "log_prob": [], "control": [], "none": []}
    labels: dict[str, list[Any]] = {"sample": [], "picture": []}
    point = alignment.point
    with model.reuse():
        for some in cut(pairs, batch):
            own = Asked.of(model, some, point, system)
            right, log_p = own.answered(model, [alignment.edit(own.source)])
            columns["correct"].append(right)
            columns["log_prob"].append(log_p)
            by_chance = [own.answered(model, [c.edit(own.source)])[0] for c in chance]
            columns["control"].append(np.mean(by_chance, 0))
            columns["none"].append(own.answered(model, [])[0])
            told = samples(own.base)
            labels["sample"] += [str(name) for name in told["sample"]]
            labels["picture"] += list(told["picture"][1])
    joined = {name: ("sample", np.concatenate(parts)) for name, parts in columns.items()}
    coords = {"sample": labels["sample"], "picture": ("sample", labels["picture"])}
    table = xr.Dataset(joined, coords)
    shares = {"accuracy": "correct", "control_accuracy": "control"}
    for name, of in shares.items():
        _with_interval(table, name, mean_map(table[of], shares=True))
    _with_interval(table, "gain", mean_map(table["correct"] - table["control"]))
    for name in table:
        table[name].attrs["units"] = "nats" if name == "log_prob" else "fraction"
    about = mean_map(table["correct"], shares=True).attrs
    table.attrs = {k: v for k, v in about.items() if k in ("interval", "unit", "n_units", "note")}
    table.attrs |= {"source": SOURCE, "point": point, "rank": alignment.rank, "draws": draws}
    return table


def _with_interval(table: xr.Dataset, name: str, found: xr.Dataset) -> None:
    for end, own in (("", "mean"), ("_low", "low"), ("_high", "high")):
        table[f"{name}{end}"] = found[own].drop_attrs()
