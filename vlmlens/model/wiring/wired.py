"""What the rooms of the machine need of a model that has its hook points, and no more."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

import torch

from vlmlens.families import Family
from vlmlens.model.lifetime.journal import Journal
from vlmlens.model.lifetime.level import Level
from vlmlens.model.wiring.implementation import Implementations
from vlmlens.model.wiring.point import WiredPoint
from vlmlens.model.wiring.rotary import Rope
from vlmlens.model.wiring.spliced import Spliced


@runtime_checkable
class StandIn(Protocol):
    """What gives a pass, in the place of its pictures, what the tower makes of them."""

    def stand_in(self, vlm: "Wired", tensors: Mapping[str, Any]) -> Mapping[str, Any]:
        """The tensors of a pass, with or without pictures."""
        ...


@runtime_checkable
class Wired(Protocol):
    """A transformers model with its points: what ``HookedVLM`` is to a pass.

    Attributes:
        hf_model: transformers' own model.
        config: its configuration.
        processor: its processor, or None.
        family: where its parts are.
        hook_dict: its points by name.
        absent: why points that exist in principle do not exist here, by name.
        layers: how many blocks the language model has.
        journal: what is on it for a while, and whose turn it is.
        implementations: how attention is computed.
        shared: what its passes share while ``reuse`` lasts; None otherwise.
        spliced: the dictionaries that are on it now.
    """

    hf_model: Any
    config: Any
    processor: Any
    family: Family
    hook_dict: dict[str, WiredPoint]
    absent: dict[str, str]
    layers: int
    journal: Journal
    implementations: Implementations
    spliced: tuple[Spliced, ...]

    @property
    def name(self) -> Any:
        """What results call it."""
        ...

    @property
    def shared(self) -> StandIn | None:
        """What its passes share now."""
        ...

    @property
    def device(self) -> torch.device:
        """Where inputs go."""
        ...

    @property
    def instance(self) -> str:
        """A name for this one model in memory."""
        ...

    @property
    def running(self) -> bool:
        """Whether this thread is running it."""
        ...

    @property
    def attention(self) -> str:
        """How attention is computed unless a run asks otherwise."""
        ...

    @property
    def rope(self) -> Rope | None:
        """The language model's rotation, layer by layer."""
        ...

    def noted(self, undo: Callable[[], object]) -> AbstractContextManager[None]:
        """What is put on it while this lasts; ``undo`` takes it off."""
        ...

    def opened_level(self) -> AbstractContextManager[Level]:
        """A context level, whose hooks act in this thread, until it ends."""
        ...

    def depth(self, part: str = "blocks") -> int:
        """How many blocks a stack offers."""
        ...

    def matching(self, patterns: str | Sequence[str]) -> list[str]:
        """The points' names that match."""
        ...
