"""Which of its choices a model finds likeliest, in four ways to weigh them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from vlmlens import probes
from vlmlens.checks import one_of
from vlmlens.errors import DataError, InputError
from vlmlens.experiments.measures import Measure
from vlmlens.graders import right_choice
from vlmlens.interventions import Intervention, as_edits
from vlmlens.model import HookedVLM
from vlmlens.model.doors.given import prepared
from vlmlens.sample import Sample


@dataclass(frozen=True, eq=False)
class Weights:
    """How likely the choices of one sample are.

    Attributes:
        log_prob: sum of log p over each choice's tokens, the end of the turn among them, in nats.
        tokens: how many tokens that is a sum over.
        size: bytes of each choice's text in UTF-8.
        blind: ``log_prob`` without the image; NaN where it was not asked for.
    """

    log_prob: Float[np.ndarray, " choice"]
    tokens: Float[np.ndarray, " choice"]
    size: Float[np.ndarray, " choice"]
    blind: Float[np.ndarray, " choice"]


#: What a choice counts: long ones are unlikely by their length, usual ones likely without looking.
FORMS: dict[str, Callable[[Weights], Float[np.ndarray, " choice"]]] = {
    "sum": lambda found: found.log_prob,
    "per-token": lambda found: found.log_prob / found.tokens,
    "per-byte": lambda found: found.log_prob / np.maximum(found.size, 1),
    "calibrated": lambda found: found.log_prob - found.blind,
}


@dataclass(frozen=True)
class Choosing(Measure):
    """Which of its choices the model finds likeliest; needs no generation and no grading.

    A prompt goes through the model once, whatever the number of its choices.

    Attributes:
        rows: how many prompts go through the model at once.
        form: what the likeliest choice is of: ``"sum"`` of log p; ``"per-token"`` and
            ``"per-byte"``, its mean; ``"calibrated"``, the sum less that of the same question
            without its image.
        width: columns of the tables of all choices; 0 leaves these tables out.

    Examples:
        >>> from vlmlens.experiments import Choosing
        >>> found = Choosing()(model, samples[:2], ())
        >>> [str(word) for word in found.answer.values], found.correct.values.tolist()
        (['green', 'purple'], [1.0, 1.0])
    """

    rows: int = 128
    form: str = "sum"
    width: int = 0

    def __post_init__(self):
        super().__post_init__()
        one_of(self.form, "form", FORMS)

    @staticmethod
    def places(samples: Sequence[Sample]) -> list[int | None]:
        """Which of its choices is right, for every sample; None where nobody knows.

        Raises:
            DataError: a sample without choices, or whose answer is none of them.
        """
        at: list[int | None] = []
        for sample in samples:
            if sample.answer is None and sample.choices:
                at.append(None)
                continue
            found = None if sample.answer is None else right_choice(sample.answer, sample.choices)
            if found is None:
                raise DataError(
                    f"likelihood scoring needs choices with the answer among them; sample "
                    f"{sample.id or sample.question!r} has {sample.choices} and {sample.answer!r}"
                )
            at.append(found)
        return at

    def __call__(
        self, model: HookedVLM, samples: Sequence[Sample], interventions: Sequence[Intervention]
    ) -> xr.Dataset:
        """``answer``, the likeliest choice; ``correct``; ``log_prob`` of the right one, a sum.

        The last two are NaN for a sample without a right answer. With ``width``, also
        ``choice_log_prob``, ``choice_tokens`` and ``choice_blind`` over (sample, choice), NaN
        where a sample has fewer choices.

        Raises:
            DataError: a sample without choices, or whose answer is none of them.
            InputError: calibrated by the image's absence, where there is none.
        """
        at = self.places(samples)
        weights: list[Weights] = []
        for start in range(0, len(samples), self.rows):
            weights += self._found(model, samples[start : start + self.rows], interventions)
        best, gold, right = [], [], []
        for sample, which, found in zip(samples, at, weights, strict=True):
            best.append(sample.choices[int(FORMS[self.form](found).argmax())])
            known = which is not None
            gold.append(float(found.log_prob[which]) if known else np.nan)
            right.append(float(best[-1] == sample.choices[which]) if known else np.nan)
        table: dict[str, Any] = {
            "answer": ("sample", best),
            "correct": ("sample", right),
            "log_prob": ("sample", gold),
        }
        names = {"choice_log_prob": "log_prob", "choice_tokens": "tokens", "choice_blind": "blind"}
        for name, field in names.items() if self.width else ():
            rows = [_padded(getattr(found, field), self.width) for found in weights]
            table[name] = (("sample", "choice"), np.stack(rows))
        return xr.Dataset(table, coords={"sample": [s.id or str(i) for i, s in enumerate(samples)]})

    def _found(
        self, model: HookedVLM, samples: Sequence[Sample], interventions: Sequence[Intervention]
    ) -> list[Weights]:
        """Every sample's own choices."""
        log_prob, tokens = self._likely(model, samples, interventions)
        blind = np.full(log_prob.shape, np.nan)
        if self.form == "calibrated":
            if lacking := next((s for s in samples if not s.images), None):
                raise InputError(
                    f"sample {lacking.id or lacking.question!r} has no image, so there is nothing "
                    "to calibrate by leaving it out: form='sum', or another"
                )
            blind, _ = self._likely(model, [s.without_images() for s in samples], ())
        found = []
        for row, sample in enumerate(samples):
            size = np.array([len(choice.encode()) for choice in sample.choices], dtype=float)
            scores, counts, bare = (each[: len(size), row] for each in (log_prob, tokens, blind))
            found.append(Weights(scores, counts, size, bare))
        return found

    def _likely(
        self, model: HookedVLM, samples: Sequence[Sample], interventions: Sequence[Intervention]
    ) -> tuple[Float[np.ndarray, "choice sample"], Float[np.ndarray, "choice sample"]]:
        """Log p of every choice, and how many tokens it has: (choice, sample)."""
        most = max(len(sample.choices) for sample in samples)
        # The last choice stands in where a sample has fewer of them.
        answered = [
            model.inputs(
                samples,
                system=self.system,
                answers=[s.choices[min(number, len(s.choices) - 1)] for s in samples],
            )
            for number in range(most)
        ]
        said = model.generate(
            model.inputs(samples, system=self.system),
            interventions,
            max_new_tokens=1,
            answered=answered,
        )
        every = np.stack([probes.answer_log_prob(said, number).values for number in range(most)])
        scored = [prepared(one, as_edits(interventions)) for one in answered]  # what is left
        tokens = [[len(lay.answer()) for lay in one.layouts] for one in scored]
        return every.astype(float), np.array(tokens, dtype=float)


def _padded(values: Float[np.ndarray, " choice"], width: int) -> Float[np.ndarray, " width"]:
    return np.pad(values, (0, width - len(values)), constant_values=np.nan)
