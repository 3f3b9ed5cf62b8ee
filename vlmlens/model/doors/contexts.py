"""Hooks that are on for a while: contexts, as TransformerLens counts them, each in its thread."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from vlmlens.annotations import checked
from vlmlens.checks import one_of
from vlmlens.model.doors.wrapped import Wrapped
from vlmlens.model.lifetime.journal import in_turn
from vlmlens.model.lifetime.level import Level


class Contexts(Wrapped):
    """How hooks come onto ``HookedVLM`` and off again; see there."""

    def noted(self, undo: Callable[[], object]) -> AbstractContextManager[None]:
        """What is put on the model while this lasts; ``undo`` takes it off, whatever happens."""
        return self.journal.noted(undo)

    @property
    def running(self) -> bool:
        """Whether this thread is running the model: what a call put on acts for it alone."""
        return self.journal.held

    @contextmanager
    def opened_level(self) -> Iterator[Level]:
        """A context level, whose hooks act in this thread, until it ends."""
        level = Level(max(self._levels, default=0) + 1, self.journal)

        def drop() -> None:
            level.over = True
            for point in self.hook_dict.values():
                if point.watched or point.fwd_hooks or point.bwd_hooks:
                    point.drop(level)
            self._levels = [other for other in self._levels if other is not level]

        with self.noted(drop):
            self._levels.append(level)
            yield level

    @property
    def context_level(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """How many contexts this thread has open, as TransformerLens counts them."""
        return next((level for level in reversed(self._levels) if level.acts), 0)

    @context_level.setter
    def context_level(self, level: int) -> None:
        # TransformerLens begins with 0, and counts no further by itself: see ``hooks``.
        self._levels: list[Level] = []

    @contextmanager
    def hooks(
        self,
        fwd_hooks: Sequence[tuple[str | Callable, Callable]] = (),
        bwd_hooks: Sequence[tuple[str | Callable, Callable]] = (),
        reset_hooks_end: bool = True,
        clear_contexts: bool = False,
    ) -> Iterator["Contexts"]:
        """Hooks that are on while this lasts, as in TransformerLens; they act in this thread.

        Args:
            fwd_hooks: names, or conditions on names, each with its hook.
            bwd_hooks: the same, for hooks on gradients.
            reset_hooks_end: False leaves them on, in every thread, until ``reset_hooks``.
            clear_contexts: whether points forget what hooks put into ``hook.ctx`` at the end.

        Raises:
            UnknownPointError: a name that is no point's, or a condition that names none.
            ClosedModelError: the model was closed.
        """
        self.check_open()
        with self.opened_level() as level:
            try:
                for name, hook in fwd_hooks:
                    self._enable_hook(name, hook, "fwd")
                for name, hook in bwd_hooks:
                    self._enable_hook(name, hook, "bwd")
                yield self
            finally:
                if not reset_hooks_end:
                    for point in self.hook_dict.values():
                        point.release(level)
                elif clear_contexts:
                    self.clear_contexts()

    @in_turn
    def run_with_hooks(self, *args: Any, **kwargs: Any) -> Any:
        """Run under hooks, as in TransformerLens."""
        return super().run_with_hooks(*args, **kwargs)

    @checked
    @in_turn
    def reset_hooks(
        self,
        clear_contexts: bool = True,
        direction: str = "both",
        including_permanent: bool = False,
        level: int | None = None,
    ) -> None:
        """Take hooks off, as in TransformerLens."""
        way: Any = one_of(direction, "direction", ("fwd", "bwd", "both"))
        super().reset_hooks(clear_contexts, way, including_permanent, level)

    def add_caching_hooks(self, *args: Any, **kwargs: Any) -> dict:
        """Hooks that keep activations, as in TransformerLens."""
        self.check_open()
        return super().add_caching_hooks(*args, **kwargs)
