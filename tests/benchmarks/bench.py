"""What the jobs share: models in memory, inputs, how often to repeat."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import vlmlens as vl
from tests.benchmarks.subject import Size, Subject
from tests.benchmarks.timing import Found


@dataclass(frozen=True)
class Job:
    """One line of the table.

    Attributes:
        name: what is measured, and against what.
        bar: what the ratio must not exceed.
        measure: the measurement.
    """

    name: str
    bar: float
    measure: Callable[["Bench"], Found]


@dataclass(frozen=True)
class Bench:
    """What is measured, and how often.

    Attributes:
        size: of the model.
        rounds: how often sides take turns.
        shuffles: permutations of one item.
        layers: whose image rows are swept, to stand for all layers: their mean depth is.
    """

    size: Size = field(default_factory=Size)
    rounds: int = 7
    shuffles: int = 32
    layers: tuple[int, ...] = (3, 8)

    @property
    def subject(self) -> Subject:
        """The model that bars are set for."""
        return _subject(self.size)

    @property
    def tiny(self) -> Subject:
        """A model so narrow that Python is what costs."""
        return _subject(Size(64, 12, 4, vision_width=64, vision_layers=2, grid=4))

    def vlm(self, subject: Subject) -> vl.HookedVLM:
        """The model, open."""
        return _vlm(subject)

    def unwrapped(self, subject: Subject) -> Any:
        """A model with the same weights that vlmlens has never seen."""
        return _unwrapped(subject)

    def inputs(self, subject: Subject) -> vl.Inputs:
        """The question."""
        return _inputs(subject)


@cache
def _subject(size: Size) -> Subject:
    return Subject.of(size)


@cache
def _vlm(subject: Subject) -> vl.HookedVLM:
    _unwrapped(subject)  # first, while the configuration is as transformers made it
    return vl.HookedVLM(subject.model, subject.processor, name="random LLaVA", revision="1")


@cache
def _unwrapped(subject: Subject) -> Any:
    config = type(subject.model.config).from_dict(subject.model.config.to_dict())
    model = type(subject.model)._from_config(config).eval()
    model.load_state_dict(subject.model.state_dict(), assign=True)  # weights are shared
    return model


@cache
def _inputs(subject: Subject) -> vl.Inputs:
    return _vlm(subject).inputs([subject.sample])
