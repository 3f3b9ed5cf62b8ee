"""Which function computes attention: transformers' own, or ours around it."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any

from vlmlens.checks import one_of
from vlmlens.errors import InputError
from vlmlens.model.lifetime.journal import Journal
from vlmlens.model.wiring.attention import CHOSEN, PREFIX, register

CHOICES = ("auto", "eager", "sdpa")


class Implementations:
    """A model's attention implementations, as they were found and while it is watched.

    Attributes:
        found: implementation by the key of the sub-configuration; ``""`` is the whole model.
    """

    def __init__(self, model: Any, journal: Journal):
        self._model, self._journal = model, journal
        self._closed = self._left = False
        self._able: set[str] = set()
        # A copy of a model that is watched took our names along.
        self.found = {key: name.removeprefix(PREFIX) for key, name in self._now().items()}

    @property
    def usual(self) -> str:
        """How the language model computes attention unless a run asks otherwise."""
        return self.found.get("text_config", self.found[""])

    def watch(self) -> None:
        """Put our functions around transformers'."""
        self._use({key: register(base) for key, base in self.found.items()})

    def again(self) -> None:
        """Put our functions back where somebody took them away, around what is there now.

        A configuration may be another model's too, which was closed; or its user set another
        implementation. Without ours, points inside attention would not be reached.
        """
        if self._closed or self._left:
            return
        if others := {
            key: name for key, name in self._now().items() if not name.startswith(PREFIX)
        }:
            self.found |= others
            self.watch()

    def leave(self) -> None:
        """Back to what was found."""
        self._use(self.found)

    def close(self) -> None:
        """Back to what was found, for good: also for contexts that end later."""
        self.leave()
        self._closed = True

    def _back(self) -> None:
        self._left = False
        if not self._closed:
            self.watch()

    @contextmanager
    def plain(self) -> Iterator[None]:
        """Transformers' own functions while this lasts."""
        with self._journal.noted(self._back):
            self.leave()
            self._left = True
            yield

    @contextmanager
    def take(self, attention: str) -> Iterator[str]:
        """Attention computed in one way in this thread while this lasts; yields what that is."""
        one_of(attention, "attention", CHOICES)
        self.again()
        if attention != "auto":
            self._refuse_unable(attention)
        thread, before, left = get_ident(), CHOSEN.get(get_ident(), ""), self._left

        def back() -> None:
            _choose(thread, before)
            if left and not self._closed:
                self.leave()

        with self._journal.noted(back):
            if left and attention != "auto":  # while transformers' own are in their place
                self.watch()
            _choose(thread, "" if attention == "auto" else attention)
            yield self.usual if attention == "auto" else attention

    def _refuse_unable(self, attention: str) -> None:
        """Refuse what transformers does not let this model have; it is asked once.

        Raises:
            InputError: with its reason.
        """
        if attention in self._able:
            return
        left = self._left
        with self._journal.noted(self.leave if left else self._back):
            try:
                self._use(dict.fromkeys(self.found, register(attention)))
            except ValueError as error:
                raise InputError(f"this model has no attention={attention!r}: {error}") from error
        self._able.add(attention)

    def _now(self) -> dict[str, str]:
        return {key: config._attn_implementation for key, config in _configs(self._model).items()}

    def _use(self, implementations: dict[str, str]) -> None:
        self._model.set_attn_implementation(dict(implementations))


def _choose(thread: int, attention: str) -> None:
    """What a thread has attention computed by; empty: by what the model was opened with."""
    if attention:
        CHOSEN[thread] = attention
    else:
        CHOSEN.pop(thread, None)


def _configs(model: Any) -> dict[str, Any]:
    """The configurations of the model and of the parts that have points, by their keys.

    Others stay as they are: SAM's tower, say, knows no implementations but its own.
    """
    config: Any = model.config
    own = (config.get_text_config(), config.vision_config)
    parts = {key: getattr(config, key) for key in config.sub_configs}
    return {"": config} | {k: part for k, part in parts.items() if any(part is o for o in own)}
