"""Which function computes attention: transformers' own, or ours around it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vlmlens.errors import InputError, UnsupportedModelError
from vlmlens.model.attention import PREFIX, register

ROADS = ("auto", "eager", "sdpa")


class Roads:
    """A model's attention implementations, as they were found and while it is watched.

    Attributes:
        found: implementation by the key of the sub-configuration; ``""`` is the whole model.

    Raises:
        UnsupportedModelError: somebody else watches this model.
    """

    def __init__(self, model: Any):
        self._model = model
        self.found = {key: c._attn_implementation for key, c in _configs(model).items()}
        if any(base.startswith(PREFIX) for base in self.found.values()):
            raise UnsupportedModelError("another HookedVLM holds this model: close that one first")

    @property
    def usual(self) -> str:
        """How the language model computes attention unless a run asks otherwise."""
        return self.found.get("text_config", self.found[""])

    def watch(self) -> None:
        """Put our functions around transformers'."""
        self._use({key: register(base) for key, base in self.found.items()})

    def leave(self) -> None:
        """Back to what was found."""
        self._use(self.found)

    @contextmanager
    def plain(self) -> Iterator[None]:
        """Transformers' own functions while this lasts."""
        self.leave()
        try:
            yield
        finally:
            self.watch()

    @contextmanager
    def take(self, attention: str) -> Iterator[str]:
        """Attention computed in one way while this lasts; yields what that is."""
        if attention not in ROADS:
            raise InputError(f"attention={attention!r}; there is: {', '.join(ROADS)}")
        if attention == "auto":
            yield self.usual
            return
        try:
            self._use(dict.fromkeys(self.found, register(attention)))
        except ValueError as error:
            self.watch()
            raise InputError(f"this model has no attention={attention!r}: {error}") from error
        try:
            yield attention
        finally:
            self.watch()

    def _use(self, implementations: dict[str, str]) -> None:
        self._model.set_attn_implementation(dict(implementations))


def _configs(model: Any) -> dict[str, Any]:
    config: Any = model.config
    parts = {key: getattr(config, key) for key in config.sub_configs}
    return {"": config} | {key: part for key, part in parts.items() if part is not None}
