"""Readings: what a score reads of a pass, at which positions, after which answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vlmlens.checks import one_of, shown
from vlmlens.errors import InputError
from vlmlens.experiments.scores import SCORES, UNITS, Score, other_answer, score_of
from vlmlens.interventions import Intervention
from vlmlens.layout import TokenLayout
from vlmlens.model import HookedVLM, Inputs, Prefill
from vlmlens.positions import Positions, Selection, as_selection
from vlmlens.sample import Sample

Logits: TypeAlias = Float[Tensor, "cell row vocab"]
Scored: TypeAlias = Float[Tensor, " cell"]
#: A clean sample, and its counterpart, if it has one.
Both: TypeAlias = tuple[Sample, Sample | None]
#: The answer that is to be ahead, and the other one; for all samples, or one such pair each.
Answers: TypeAlias = tuple[str, str] | Sequence[tuple[str, str]]
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


@dataclass(frozen=True, repr=False)
class Telling(Selection):
    """The positions whose logits say what the answer is: those before its tokens."""

    def mask(self, layout: TokenLayout) -> Bool[np.ndarray, " pos"]:
        found = np.zeros(len(layout), dtype=bool)
        found[layout.telling()] = True
        return found


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

    def inputs(self, model: HookedVLM, samples: Sequence[Sample], system: str | None) -> Inputs:
        """Samples, with what is said after each prompt, if anything is."""
        answers = None if self.answer is None else [self.answer] * len(samples)
        return model.inputs(samples, system=system, answers=answers)

    def rows(
        self, model: HookedVLM, run: Prefill, edits: Sequence[Intervention] = ()
    ) -> Float[Tensor, "row vocab"]:
        """Logits of one sample's run, perhaps an edited one, at the positions that are read."""
        if not edits and self.answer is None and self.positions == "last":
            return run.logits
        return model.resume(run, [list(edits)], self.positions).logits[0]


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


def answered(pairs: Sequence[Both], answers: Any) -> list[Both]:
    """Pairs with the answers that were given, if any were.

    Raises:
        InputError: no two answers, or not one pair of them each.
    """
    if answers is None:
        return list(pairs)
    single = isinstance(answers, tuple | list) and all(isinstance(a, str) for a in answers)
    each = [answers] * len(pairs) if single else answers
    if not isinstance(each, tuple | list) or len(each) != len(pairs):
        raise InputError(
            f"answers={shown(answers)}: a right and a wrong one are wanted, or one such pair for "
            f"each of {len(pairs)} samples"
        )
    made = []
    for (clean, corrupted), said in zip(pairs, each, strict=True):
        if not (
            isinstance(said, tuple | list)
            and len(said) == 2
            and all(isinstance(text, str) for text in said)
        ):
            raise InputError(f"answers: {shown(said)} is no pair of a right and a wrong answer")
        right, wrong = said
        one = replace(clean, answer=right, choices=(right, wrong))
        made.append((one, None if corrupted is None else replace(corrupted, answer=wrong)))
    return made


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
    at = inputs.layouts[0].answer()
    ids = inputs.tensors["input_ids"][0, torch.as_tensor(at)]
    return Reading(said.answer, Telling(), partial(_log_prob, ids), weight)


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
