"""Pairs that are run together: the clean run, the corrupted one, and how both score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vlmlens.checks import shown
from vlmlens.errors import InputError
from vlmlens.experiments.circuits.places import REST, split
from vlmlens.experiments.readings import AnyScore, Reading, readings_of
from vlmlens.interventions.stored import refuse_misaligned
from vlmlens.layout import TokenLayout
from vlmlens.model import HookedVLM, Inputs, Run
from vlmlens.model.reading.finite import broken
from vlmlens.positions import Positions, chosen
from vlmlens.sample import Sample

EMBED = "hook_embed"


@dataclass(frozen=True, eq=False)
class Twins:
    """Some pairs, run for one reading of their score.

    Attributes:
        model: the open model.
        pairs: clean and corrupted samples.
        source: the clean samples' run.
        base: the corrupted samples' run, whose positions are the same ones.
        readings: what is read of every pair.
        prompts: the layout of every corrupted prompt, without padding and without an answer.
        score: as it was given.
    """

    model: HookedVLM
    pairs: Sequence[tuple[Sample, Sample]]
    source: Run
    base: Run
    readings: Sequence[Reading]
    prompts: Sequence[TokenLayout]
    score: AnyScore

    @classmethod
    def several(
        cls,
        model: HookedVLM,
        pairs: Sequence[tuple[Sample, Sample]],
        score: AnyScore,
        system: str | None,
        points: Sequence[str],
        also: Sequence[str] = (),
    ) -> "list[Twins]":
        """Run some pairs, once for each reading of the score; the score is their weighted sum.

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
        prompts = [model.inputs([other], system=system).layouts[0] for _, other in pairs]
        each = [
            readings_of(score, model, *pair, system, layout)
            for pair, layout in zip(pairs, prompts, strict=True)
        ]
        found = []
        for readings in zip(*each, strict=True):
            runs = []
            for side, more in ((0, ()), (1, also)):
                inputs = _inputs(model, [pair[side] for pair in pairs], readings, system)
                save = list(dict.fromkeys([EMBED, *points, *more]))
                with torch.no_grad():
                    wanted = _rows(readings, inputs.layouts)
                    runs.append(model.run(inputs, save=save, logits=wanted))
            source, base = runs
            refuse_misaligned(source.saved, base.inputs.layouts, EMBED, base.saved[EMBED])
            found.append(cls(model, pairs, source, base, readings, prompts, score))
        return found

    @property
    def weight(self) -> float:
        """How this reading counts in the score."""
        return self.readings[0].weight

    @property
    def wanted(self) -> bool | Positions:
        """The rows of logits that a pass is asked for."""
        return _rows(self.readings, self.base.inputs.layouts)

    @property
    def read(self) -> Bool[np.ndarray, "sample pos"]:
        """The positions whose logits are read."""
        pairs = zip(self.base.inputs.layouts, self.readings, strict=True)
        return np.stack([chosen(layout, reading.positions) for layout, reading in pairs])

    def parts(self, logits: Float[Tensor, "batch row vocab"]) -> list[Float[Tensor, "1"]]:
        """Every pair's score by itself, of what ``wanted`` asks for."""
        rows = zip(self._cut(logits), self._cut(self.source.logits), self.readings, strict=True)
        return [reading.measure(own[None], clean.detach()) for own, clean, reading in rows]

    def scored(self, logits: Float[Tensor, "batch row vocab"]) -> Float[Tensor, " batch"]:
        """Every pair's score."""
        return torch.cat(self.parts(logits))

    def slope(self, logits: Float[Tensor, "batch row vocab"]) -> Float[Tensor, ""]:
        """The pairs' scores together, to be followed back.

        Raises:
            InputError: a score that is not made of logits by what has a gradient.
        """
        parts = self.parts(logits)
        if any(not part.requires_grad for part in parts):
            raise InputError(
                f"score={shown(self.score)} has no gradient, and edges follow it back: no argmax, "
                "comparison, .item() or .detach() may stand between logits and score. path_patch "
                "and faithfulness take any score"
            )
        return torch.cat(parts).sum()

    def masks(self, places: Mapping[str, Any]) -> Bool[np.ndarray, "place sample pos"]:
        """The positions of every place of the prompt; an answer is in what is left over."""
        layouts, samples = self.base.inputs.layouts, [pair[1] for pair in self.pairs]
        if not places or self.readings[0].answer is None:
            return np.stack(list(split(places, samples, layouts).values()))
        free = ~np.stack([layout.mask("pad") for layout in layouts])
        found = np.zeros((len(places) + 1, *free.shape), dtype=bool)
        names = [*places, REST]
        for row, (sample, prompt) in enumerate(zip(samples, self.prompts, strict=True)):
            at = np.flatnonzero(free[row])[: len(prompt)]
            for name, own in split(places, [sample], [prompt]).items():
                found[names.index(name), row, at] = own[0]
        found[-1] = free & ~found[:-1].any(0)
        return found

    def ends(self) -> Float[np.ndarray, "2 sample"]:
        """Scores of the clean and of the corrupted run.

        Raises:
            NonFiniteError: one that is NaN or infinite.
        """
        with torch.no_grad():
            both = [self.scored(run.logits) for run in (self.source, self.base)]
        found = torch.stack(both).double().cpu().numpy()
        self.refuse_broken(found.T)
        return found

    def _cut(self, logits: Float[Tensor, "batch row vocab"]) -> list[Float[Tensor, "row vocab"]]:
        if self.wanted is not True:
            return list(logits)
        return [
            own[torch.from_numpy(at).to(own.device)]
            for own, at in zip(logits, self.read, strict=True)
        ]

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


def _inputs(
    model: HookedVLM,
    samples: Sequence[Sample],
    readings: Sequence[Reading],
    system: str | None,
) -> Inputs:
    """Samples, each with what its reading has said after the prompt."""
    said = [reading.answer for reading in readings]
    answers = [each for each in said if each is not None]
    return model.inputs(samples, system=system, answers=answers or None)


def _rows(readings: Sequence[Reading], layouts: Sequence[TokenLayout]) -> bool | Positions:
    """The rows that are read, or all of them where pairs read differently many."""
    positions = readings[0].positions
    same = len({int(chosen(layout, positions).sum()) for layout in layouts}) == 1
    return positions if same else True
