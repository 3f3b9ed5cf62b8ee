"""Pairs that are run together: the clean run, the corrupted one, and how both score."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vlmlens.experiments.scores import Score, score_of
from vlmlens.interventions.stored import refuse_misaligned
from vlmlens.model import HookedVLM, Run
from vlmlens.model.reading.finite import broken
from vlmlens.sample import Sample

EMBED = "hook_embed"


@dataclass(frozen=True, eq=False)
class Twins:
    """Some pairs, run.

    Attributes:
        model: the open model.
        pairs: clean and corrupted samples.
        source: the clean samples' run.
        base: the corrupted samples' run, whose positions are the same ones.
        scores: a score for every pair, of the last position's logits.
    """

    model: HookedVLM
    pairs: Sequence[tuple[Sample, Sample]]
    source: Run
    base: Run
    scores: Sequence[Callable[[Float[Tensor, "cell vocab"]], Float[Tensor, " cell"]]]

    @classmethod
    def run(
        cls,
        model: HookedVLM,
        pairs: Sequence[tuple[Sample, Sample]],
        score: str | Score,
        system: str | None,
        points: Sequence[str],
        also: Sequence[str] = (),
    ) -> "Twins":
        """Run some pairs.

        Args:
            model: the open model.
            pairs: clean and corrupted samples.
            score: as ``edges`` takes it.
            system: a system prompt.
            points: what to save of both runs.
            also: what to save of the corrupted run alone.

        Raises:
            InputError: a pair that does not align.
        """
        runs = []
        for side, more in ((0, ()), (1, also)):
            inputs = model.inputs([pair[side] for pair in pairs], system=system)
            save = list(dict.fromkeys([EMBED, *points, *more]))
            with torch.no_grad():
                runs.append(model.run(inputs, save=save, logits="last"))
        source, base = runs
        refuse_misaligned(source.saved, base.inputs.layouts, EMBED, base.saved[EMBED])
        return cls(model, pairs, source, base, [score_of(score, model, *p, system) for p in pairs])

    def scored(self, logits: Float[Tensor, "batch vocab"]) -> Float[Tensor, " batch"]:
        """Every pair's score."""
        own = zip(self.scores, logits, strict=True)
        return torch.cat([score(one[None]) for score, one in own])

    def ends(self) -> Float[np.ndarray, "2 sample"]:
        """Scores of the clean and of the corrupted run.

        Raises:
            NonFiniteError: one that is NaN or infinite.
        """
        both = [self.scored(run.logits[:, -1]) for run in (self.source, self.base)]
        found = torch.stack(both).double().cpu().numpy()
        self.refuse_broken(found.T)
        return found

    def refuse_broken(self, found: Float[np.ndarray, "sample ..."]) -> None:
        """Refuse numbers that are none.

        Raises:
            NonFiniteError: names the sample and its first such activation.
        """
        for (clean, corrupted), own in zip(self.pairs, found, strict=True):
            if not np.isfinite(own).all():
                for sample in (clean, corrupted):
                    inputs = self.model.inputs([sample])
                    name = sample.id or sample.question
                    raise broken(self.model, name, inputs, (), "a score or its gradient is")
