"""Bases, sources and counterfactual answers, prepared for interchanges."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from vlmlens.cache import ActivationCache
from vlmlens.checks import shown
from vlmlens.datasets import Pair
from vlmlens.errors import InputError
from vlmlens.experiments.given import as_batch
from vlmlens.inputs import Inputs
from vlmlens.interventions import Intervention, PatchFrom, Site
from vlmlens.interventions.subspace import swapped
from vlmlens.model import HookedVLM
from vlmlens.probes.direct import tokens_of
from vlmlens.sample import Sample
from vlmlens.select import Where

#: Base, source, and what the base is to be answered with when the variable is the source's.
Counterfactual = Pair | tuple[Sample, Sample, str]


@dataclass(frozen=True, eq=False)
class Turning(PatchFrom):
    """The interchange on a basis that is being learned."""

    basis: Float[Tensor, "width rank"] | None = None

    @classmethod
    def of(
        cls, point: str, where: Where, source: ActivationCache, basis: Float[Tensor, "width rank"]
    ) -> "Turning":
        """The edit, at the same positions of both runs."""
        return cls(point, where, source, None, where.positions, basis)

    def edit(self, x: Float[Tensor, "*axes"], site: Site) -> Float[Tensor, "*axes"]:
        """The activation, with the other run's in the subspace."""
        assert self.basis is not None
        return swapped(x, super().edit(x, site), self.basis.to(x))


@dataclass(frozen=True, eq=False)
class Asked:
    """Some pairs, prepared.

    Attributes:
        base: the bases' inputs.
        source: what the sources' run saved.
        answers: the counterfactual answers' first tokens.
    """

    base: Inputs
    source: ActivationCache
    answers: Int[Tensor, " sample"]

    @classmethod
    def of(
        cls,
        model: HookedVLM,
        some: Sequence[tuple[Sample, Sample, str]],
        point: str,
        system: str | None,
    ) -> "Asked":
        """Inputs, the sources' activations, the answers."""
        base = model.inputs([pair[0] for pair in some], system=system)
        other = model.inputs([pair[1] for pair in some], system=system)
        names = model.matching(point)
        if len(names) != 1:
            raise InputError(f"point={point!r} are {len(names)} points: name one")
        source = model.run(other, save=point, logits=False).saved
        answers = tokens_of(model, base, [pair[2] for pair in some], "answers")
        return cls(base, source, answers)

    def log_prob(self, model: HookedVLM, edit: Any, grad: bool = False) -> Float[Tensor, " sample"]:
        """The answers' log-probability under an edit."""
        logits = model.run(self.base, edit, logits="last", grad=grad).logits[:, -1]
        return logits.float().log_softmax(-1).gather(-1, self.answers[:, None])[:, 0]

    def answered(
        self, model: HookedVLM, edits: Sequence[Intervention]
    ) -> tuple[Float[np.ndarray, " sample"], Float[np.ndarray, " sample"]]:
        """Whether the answer is the likeliest token, and its log-probability."""
        logits = model.run(self.base, edits, logits="last").logits[:, -1].float()
        found = logits.log_softmax(-1).gather(-1, self.answers[:, None])[:, 0]
        right = (logits.argmax(-1) == self.answers).double()
        return right.cpu().numpy(), found.double().cpu().numpy()


def cut(pairs: Sequence[Counterfactual], size: int) -> Iterator[list[tuple[Sample, Sample, str]]]:
    """Pairs in batches, as base, source and answer.

    Raises:
        InputError: none, or something else.
    """
    made = []
    for pair in pairs:
        if isinstance(pair, Pair):
            made.append((pair.clean, pair.corrupted, pair.corrupted.answer))
        elif isinstance(pair, tuple) and len(pair) == 3:
            made.append(pair)
        else:
            raise InputError(f"{shown(pair)}: (base, source, counterfactual answer) is wanted")
        kinds = (Sample, Sample, str)
        if not all(isinstance(x, kind) for x, kind in zip(made[-1], kinds, strict=True)):
            raise InputError(f"{shown(pair)}: two samples and an answer's text are wanted")
    if not made:
        raise InputError("no pairs: give at least one")
    step = as_batch(size)
    for start in range(0, len(made), step):
        yield made[start : start + step]
