"""Misuse, as users do it: they have no type checker that would speak before our own errors."""

from collections.abc import Iterator
from contextlib import contextmanager

from jaxtyping import config


@contextmanager
def as_users() -> Iterator[None]:
    """Annotations are not checked while this lasts."""
    before = config.jaxtyping_disable
    config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        config.update("jaxtyping_disable", before)
