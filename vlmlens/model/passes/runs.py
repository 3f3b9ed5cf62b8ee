"""What runs passes: a wired model that can also be asked to run."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from vlmlens.inputs import Inputs
from vlmlens.model.passes.run import Generation, Run
from vlmlens.model.wiring.wired import Wired


@runtime_checkable
class Runs(Wired, Protocol):
    """What ``HookedVLM`` is to those who have it run a pass; arguments as there."""

    @property
    def run(self) -> Callable[..., Run]:
        """One pass."""
        ...


@runtime_checkable
class Audited(Runs, Protocol):
    """What ``HookedVLM`` is to an audit, which tries every way of running it.

    Attributes:
        recognised: whether the points were recognised without a family of their own.
    """

    recognised: bool

    @property
    def inputs(self) -> Callable[..., Inputs]:
        """Samples as tensors."""
        ...

    @property
    def run_with_cache(self) -> Callable[..., Any]:
        """One pass that keeps every point, as in TransformerLens."""
        ...

    @property
    def generate(self) -> Callable[..., Generation]:
        """Token after token."""
        ...

    @property
    def prefill(self) -> Callable[..., Any]:
        """One clean pass that others start from."""
        ...

    @property
    def resume(self) -> Callable[..., Any]:
        """Edited passes from a clean one."""
        ...
