"""Tokens handed on as they are chosen, as transformers' ``generate`` hands them to a streamer."""

from typing import Any

from jaxtyping import Int
from torch import Tensor
from transformers import TextStreamer

from vlmlens.checks import shown
from vlmlens.errors import InputError


def as_streamer(given: Any, samples: int) -> Any:
    """A streamer: what has ``put`` and ``end``; None where nobody listens.

    Raises:
        InputError: anything else, or one of texts for several samples.
    """
    if given is None:
        return None
    if missing := [name for name in ("put", "end") if not callable(getattr(given, name, None))]:
        raise InputError(
            f"streamer={shown(given)} has no {missing[0]}(): one of transformers' streamers is "
            "wanted, or what has put(tokens) and end()"
        )
    if isinstance(given, TextStreamer) and samples != 1:
        raise InputError(
            f"{type(given).__name__} writes one sample's text, and {samples} are generated: pass "
            "them one by one, or a streamer of your own whose put() takes (batch,) tokens"
        )
    return given


def put(streamer: Any, tokens: Int[Tensor, "..."]) -> None:
    """Hand on the prompt (batch pos), or the newest token of every sample (batch)."""
    if streamer is not None:
        streamer.put(tokens.cpu())
