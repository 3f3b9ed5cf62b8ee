"""Scores: what a sweep reads off the logits, one number a cell."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from jaxtyping import Float
from torch import Tensor

from vlmlens.checks import one_of, shown
from vlmlens.errors import InputError
from vlmlens.model import HookedVLM
from vlmlens.sample import Sample

#: From the last position's logits (cell vocab) to a number a cell.
Score = Callable[[Float[Tensor, "cell vocab"]], Float[Tensor, " cell"]]


@dataclass(frozen=True)
class LogitDifference:
    """How far one token is ahead of another, in logits.

    Attributes:
        right: the token that is to be ahead.
        wrong: the other one.
    """

    right: int
    wrong: int

    def __call__(self, logits: Float[Tensor, "cell vocab"]) -> Float[Tensor, " cell"]:
        """logit(right) - logit(wrong)."""
        return logits[:, self.right].float() - logits[:, self.wrong].float()


@dataclass(frozen=True)
class LogProb:
    """How likely a token is, in nats.

    Attributes:
        right: the token.
    """

    right: int

    def __call__(self, logits: Float[Tensor, "cell vocab"]) -> Float[Tensor, " cell"]:
        """Log p(right)."""
        return logits.float().log_softmax(-1)[:, self.right]


SCORES = ("logit_difference", "log_prob")
#: What they are measured in.
UNITS = {"logit_difference": "logits", "log_prob": "nats"}


def score_of(
    score: str | Score,
    model: HookedVLM,
    clean: Sample,
    corrupted: Sample | None,
    system: str | None,
) -> Score:
    """A score for one pair, by name, on the first tokens of their answers.

    Raises:
        InputError: no such score, no answer, or answers that begin alike.
    """
    if callable(score):
        return partial(_numbers, score)
    one_of(score, "score", SCORES, ", or a function of logits")
    right = first_token(model, clean, system)
    if score == "log_prob":
        return LogProb(right)
    other = other_answer(clean, corrupted)
    wrong = first_token(model, other, system)
    if right == wrong:
        raise InputError(
            f"the answers {clean.answer!r} and {other.answer!r} begin with the same token, so "
            "their logits do not differ: score='answer_difference' takes all of their tokens"
        )
    return LogitDifference(right, wrong)


def other_answer(clean: Sample, corrupted: Sample | None) -> Sample:
    """A sample with the answer that the clean one's is held against.

    Raises:
        InputError: there is none, or there are several.
    """
    others = [choice for choice in clean.choices if choice != clean.answer]
    if corrupted is not None and corrupted.answer != clean.answer:
        return corrupted
    if len(others) == 1 and len(clean.choices) == 2:
        return replace(clean, answer=others[0])
    if corrupted is not None:
        return corrupted
    raise InputError(
        "a difference is between two answers: answers=(right, wrong), samples with two choices, or "
        "score='log_prob'"
    )


def _numbers(score: Score, logits: Float[Tensor, "cell vocab"]) -> Float[Tensor, " cell"]:
    """A user's score, one number a cell.

    Raises:
        InputError: anything else.
    """
    found = score(logits)
    if not isinstance(found, Tensor) or found.shape != logits.shape[:1]:
        made = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else shown(found)
        raise InputError(
            f"score= made {made} of logits {tuple(logits.shape)}: one number a row is wanted, such "
            "as lambda logits: logits[:, 5]"
        )
    return found


def first_token(model: HookedVLM, sample: Sample, system: str | None) -> int:
    """The token that a sample's answer begins with, as the chat template puts it.

    Raises:
        InputError: a sample without an answer.
    """
    if sample.answer is None:
        raise InputError(
            f"sample {sample.id or sample.question!r} has no answer to score: give one, or pass "
            "score= as a function of logits"
        )
    inputs = model.inputs([sample], system=system, answers=[sample.answer])
    return int(inputs.tensors["input_ids"][0, inputs.layouts[0].answer()[0]])
