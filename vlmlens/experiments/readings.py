"""Readings: what a score reads of a pass, at which positions, after which answer."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vlmlens.checks import one_of, shown
from vlmlens.errors import InputError
from vlmlens.experiments.scores import SCORES, UNITS, Score, other_answer, score_of
from vlmlens.layout import TokenLayout
from vlmlens.model import HookedVLM
from vlmlens.positions import At, Positions, as_selection
from vlmlens.sample import Sample

Logits: TypeAlias = Float[Tensor, "cell row vocab"]
Scored: TypeAlias = Float[Tensor, " cell"]
#: From a cell's logits and the clean run's (row vocab) to a number a cell.
Measured: TypeAlias = Callable[[Logits, Float[Tensor, "row vocab"]], Scored]


@dataclass(frozen=True)
class SampleScore:
    """A score that knows its sample, and reads logits at any positions.

    Attributes:
        function: from logits (cell row vocab), the clean sample and the layout of the sample that
            is edited to numbers (cell).
        positions: the rows that are read; a role, indices, a selection.
        units: what it is measured in.

    Examples:
        >>> from vlmlens.experiments import SampleScore
        >>> def of_the_category(logits, sample, layout):
        ...     token = 307 if "color" in sample.category else 308
        ...     return logits[:, -1, token]
        >>> score = SampleScore(of_the_category, positions="user", units="logits")
        >>> edit = vl.interventions.ZeroAblate()
        >>> effect = vl.experiments.sweep(
        ...     model, sample, edit=edit, over="role", score=score, progress=False
        ... )
        >>> effect.attrs["units"]
        'logits'
    """

    function: Callable[[Logits, Sample, TokenLayout], Scored]
    positions: Positions = "last"
    units: str = "score"

    def __post_init__(self):
        if not callable(self.function):
            raise InputError(f"function={shown(self.function)}: a function of logits is wanted")
        as_selection(self.positions)


@dataclass(frozen=True, eq=False)
class Reading:
    """One pass that a score reads.

    Attributes:
        answer: what is said after the prompt; None for the prompt alone.
        positions: the rows of logits that are read.
        measure: what is made of them.
        weight: how it counts in the score.
    """

    answer: str | None
    positions: Positions
    measure: Measured
    weight: float = 1.0


#: Scores by name: those of the last position, of whole answers, and of the whole distribution.
NAMES = (*SCORES, "answer_log_prob", "answer_difference", "kl")
AnyScore: TypeAlias = str | Score | SampleScore


def readings_of(
    score: AnyScore,
    model: HookedVLM,
    clean: Sample,
    corrupted: Sample | None,
    system: str | None,
    layout: TokenLayout,
) -> list[Reading]:
    """What a score reads of one pair.

    Args:
        score: by name, a function of the last position's logits, or a ``SampleScore``.
        model: an open model.
        clean: the sample with the answer that counts.
        corrupted: its counterpart, if it has one.
        system: a system prompt.
        layout: of the sample that is edited.

    Raises:
        InputError: no such score, or no answer that it could be of.
    """
    if isinstance(score, SampleScore):
        return [Reading(None, score.positions, partial(_by_sample, score, clean, layout))]
    if not callable(score):
        one_of(score, "score", NAMES, ", or a function of logits")
    if score == "kl":
        return [Reading(None, "last", _kl)]
    if score == "answer_log_prob":
        return [_answer(model, clean, clean, system, 1.0)]
    if score == "answer_difference":
        other = other_answer(clean, corrupted)
        if other.answer == clean.answer:
            raise InputError(f"both answers are {clean.answer!r}: there is no difference")
        signs = ((clean, 1.0), (other, -1.0))
        return [_answer(model, clean, said, system, sign) for said, sign in signs]
    last = score_of(score, model, clean, corrupted, system)
    return [Reading(None, "last", lambda logits, _: last(logits[:, -1]))]


def units_of(score: AnyScore) -> str:
    """What a score is measured in."""
    if isinstance(score, SampleScore):
        return score.units
    if not isinstance(score, str):
        return "score"
    return UNITS.get(score, "nats")


def _answer(
    model: HookedVLM, clean: Sample, said: Sample, system: str | None, weight: float
) -> Reading:
    """How likely an answer is, all of its tokens, after the prompt."""
    if not said.answer:
        raise InputError(f"sample {said.id or said.question!r} has no answer to score: give one")
    inputs = model.inputs([clean], system=system, answers=[said.answer])
    at = inputs.layouts[0].positions("assistant")
    ids = inputs.tensors["input_ids"][0, torch.as_tensor(at)]
    before = At(tuple(int(each) - 1 for each in at))
    return Reading(said.answer, before, partial(_log_prob, ids), weight)


def _log_prob(ids: Int[Tensor, " row"], logits: Logits, clean: Any) -> Scored:
    log_p = logits.float().log_softmax(-1)
    said = ids.to(log_p.device)[None, :, None].expand(len(log_p), -1, 1)
    return log_p.gather(2, said).sum((1, 2))


def _kl(logits: Logits, clean: Float[Tensor, "row vocab"]) -> Scored:
    """KL(clean || cell) at the last position, in nats."""
    p, q = clean[-1].float().log_softmax(-1), logits[:, -1].float().log_softmax(-1)
    return torch.where(p.isneginf(), 0.0, p.exp() * (p - q)).sum(-1)


def _by_sample(
    score: SampleScore, sample: Sample, layout: TokenLayout, logits: Logits, clean: Any
) -> Scored:
    found = score.function(logits, sample, layout)
    if not isinstance(found, Tensor) or found.shape != logits.shape[:1]:
        made = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else shown(found)
        raise InputError(
            f"score= made {made} of logits {tuple(logits.shape)}: one number a cell is wanted"
        )
    return found
