"""Hooks that are on for a while: contexts, as TransformerLens counts them, each in its thread."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from inspect import signature
from typing import Any, Literal

from transformer_lens.HookedRootModule import HookedRootModule

from vlmlens.annotations import checked
from vlmlens.checks import one_of, refuse_unknown
from vlmlens.errors import UnknownPointError
from vlmlens.model.doors.caching import filtered
from vlmlens.model.doors.given import as_hooks
from vlmlens.model.doors.wrapped import Wrapped
from vlmlens.model.lifetime.journal import in_turn
from vlmlens.model.lifetime.level import Level


class Contexts(Wrapped):
    """How hooks come onto ``HookedVLM`` and off again; see there."""

    def noted(self, undo: Callable[[], object]) -> AbstractContextManager[None]:
        """What is put on the model while this lasts; ``undo`` takes it off, whatever happens.

        Examples:
            >>> with model.noted(lambda: print("taken off")):
            ...     print("on")
            on
            taken off
        """
        return self.journal.noted(undo)

    @property
    def running(self) -> bool:
        """Whether this thread is running the model: what a call put on acts for it alone."""
        return self.journal.held

    @contextmanager
    def opened_level(self) -> Iterator[Level]:
        """A context level, whose hooks act in this thread, until it ends.

        Examples:
            >>> with model.opened_level() as level:
            ...     model.hook_dict["hook_embed"].add_hook(lambda x, hook: None, level=level)
            ...     print(model.hook_dict["hook_embed"].watched)
            LensHandle(...)
            True
            >>> model.hook_dict["hook_embed"].watched
            False
        """
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

    @checked
    def hooks(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        fwd_hooks: Sequence[tuple[str | Callable[[str], bool], Callable]] = (),
        bwd_hooks: Sequence[tuple[str | Callable[[str], bool], Callable]] = (),
        reset_hooks_end: bool = True,
        clear_contexts: bool = False,
    ) -> AbstractContextManager["Contexts"]:
        """Hooks that are on while this lasts, as in TransformerLens; they act in this thread.

        Args:
            fwd_hooks: names, or conditions on names, each with its hook.
            bwd_hooks: the same, for hooks on gradients.
            reset_hooks_end: False leaves them on, in every thread, until ``reset_hooks``.
            clear_contexts: whether points forget what hooks put into ``hook.ctx`` at the end.

        Raises:
            UnknownPointError: a name that is no point's, or a condition that names none.
            ClosedModelError: the model was closed.

        Examples:
            >>> def double(x, hook):
            ...     return 2 * x
            >>> inputs, point = model.inputs(sample), "blocks.0.hook_mlp_out"
            >>> clean = model.run(inputs, save=point).saved[point]
            >>> with model.hooks(fwd_hooks=[(point, double)]):
            ...     doubled = model.run(inputs, save=point).saved[point]
            >>> torch.equal(doubled, 2 * clean)
            True
        """
        on = {"fwd": as_hooks(fwd_hooks, "fwd_hooks"), "bwd": as_hooks(bwd_hooks, "bwd_hooks")}
        return self._hooked(on, reset_hooks_end, clear_contexts)

    @contextmanager
    def _hooked(
        self,
        on: Mapping[str, Sequence[tuple[str | Callable, Callable]]],
        reset_hooks_end: bool,
        clear_contexts: bool,
    ) -> Iterator["Contexts"]:
        self.check_open()
        self.implementations.again()
        with self.opened_level() as level:
            try:
                for direction, pairs in on.items():
                    for name, hook in pairs:
                        self._enable_hook(name, hook, direction)
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
        """Take hooks off, as in TransformerLens.

        Examples:
            >>> model.add_hook("hook_embed", lambda x, hook: None)
            >>> model.reset_hooks()
            >>> model.hook_dict["hook_embed"].watched
            False
        """
        way: Any = one_of(direction, "direction", ("fwd", "bwd", "both"))
        super().reset_hooks(clear_contexts, way, including_permanent, level)

    def add_caching_hooks(self, names_filter: Any = None, *args: Any, **kwargs: Any) -> dict:
        """As in TransformerLens; a filter that names nothing raises.

        Examples:
            >>> kept = model.add_caching_hooks("blocks.0.hook_mlp_out")
            >>> logits = model(model.inputs(sample))
            >>> model.reset_hooks()
            >>> kept["blocks.0.hook_mlp_out"].shape  # batch pos d_model
            torch.Size([1, 78, 128])
        """
        self.check_open()
        _refuse(kwargs, "add_caching_hooks")
        vlm: Any = self
        return super().add_caching_hooks(filtered(vlm, names_filter), *args, **kwargs)

    def get_caching_hooks(self, names_filter: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As in TransformerLens; a filter that names nothing raises.

        Examples:
            >>> kept, forward, backward = model.get_caching_hooks("blocks.0.hook_mlp_out")
            >>> with model.hooks(forward, backward):
            ...     logits = model(model.inputs(sample))
            >>> list(kept)
            ['blocks.0.hook_mlp_out']
        """
        _refuse(kwargs, "get_caching_hooks")
        vlm: Any = self
        return super().get_caching_hooks(filtered(vlm, names_filter), *args, **kwargs)

    def add_hook(
        self,
        name: str | Callable[[str], bool],
        hook: Callable,
        dir: Literal["fwd", "bwd"] = "fwd",
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Add a hook as TransformerLens does; a name or a condition that names nothing raises.

        Examples:
            >>> seen = []
            >>> model.add_hook("hook_embed", lambda x, hook: seen.append(tuple(x.shape)))
            >>> logits = model(model.inputs(sample))
            >>> model.reset_hooks()
            >>> seen
            [(1, 78, 128)]
        """
        _refuse(kwargs, "add_hook")
        as_hooks([(name, hook)], "add_hook")
        self._check_names(name)
        one_of(dir, "dir", ("fwd", "bwd"))
        super().add_hook(name, hook, dir, *args, **kwargs)

    def _enable_hook(self, name: str | Callable[[str], bool], *args: Any, **kwargs: Any) -> None:
        self._check_names(name)
        super()._enable_hook(name, *args, **kwargs)

    def _check_names(self, name: str | Callable[[str], bool]) -> None:
        self.check_open()
        if isinstance(name, str):
            if name not in self.hook_dict:
                self.matching(name)
                advice = "(a hook takes one name, or a condition on names)"
                raise UnknownPointError(name, self.hook_dict, advice)
        elif not any(name(known) for known in self.hook_dict):
            raise UnknownPointError(str(name), self.hook_dict, "(the condition names no point)")


def _refuse(given: Mapping[str, Any], method: str) -> None:
    """Refuse keywords that TransformerLens's own method does not take."""
    refuse_unknown(given, signature(getattr(HookedRootModule, method)).parameters, f"{method}(...)")
