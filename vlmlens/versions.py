"""What other libraries call by another name from one version to the next, read off what is there.

Nothing here looks at a version number, since forks, remote code and releases to come have their
own; but for ``refuse_older``, of faults that show in no name.
"""

from functools import cache as remembered
from importlib import import_module
from inspect import signature
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8
from torch import Tensor

from vlmlens.errors import InputError, UnsupportedModelError

#: What a forward calls the keys and values of earlier positions, the newest name first.
CACHE_NAMES = ("cache", "past_key_values")


@remembered
def cache_name(kind: type) -> str:
    """What a class of modules calls the keys and values of earlier positions.

    Raises:
        UnsupportedModelError: a forward that takes none.
    """
    ways = (getattr(kind, name, None) for name in ("forward", "prepare_inputs_for_generation"))
    for way in ways:
        taken = () if way is None else signature(way).parameters
        for name in CACHE_NAMES:
            if name in taken:
                return name
    raise UnsupportedModelError(
        f"{kind.__name__}.forward takes no {' or '.join(CACHE_NAMES)}: it cannot go on from keys "
        "and values that it made before"
    )


def cache_argument(module: Any, cache: Any) -> dict[str, Any]:
    """The keyword with which a module's forward is given a cache; raises as ``cache_name``."""
    return {cache_name(type(module)): cache}


def one_cache(**named: Any) -> Any:
    """The cache that a forward of ours was given, under whichever name.

    Raises:
        InputError: two different ones.
    """
    given = {name: each for name, each in named.items() if each is not None}
    if len({id(each) for each in given.values()}) > 1:
        raise InputError(f"{' and '.join(given)} are one thing under two names: pass one of them")
    return next(iter(given.values()), None)


@remembered
def keeps_logits(kind: type) -> bool:
    """Whether a class's forward computes logits at the positions that are asked for only."""
    return "logits_to_keep" in signature(kind.forward).parameters


def logits_at(module: Any, kept: Int[Tensor, " kept"], **given: Any) -> Any:
    """A pass's output, whose logits are those of some positions.

    A forward that knows no ``logits_to_keep`` computes all, and takes the word without a sound.
    """
    if keeps_logits(type(module)):
        return module(**given, logits_to_keep=kept)
    output = module(**given)
    output.logits = output.logits[:, kept]
    return output


def as_rgb(image: Any) -> UInt8[np.ndarray, "row column channel"]:
    """A picture's bytes in RGB, as transformers composites them.

    From 5.23 on it is asked for arrays by name, and warns of pictures.
    """
    convert = import_module("transformers.image_transforms").convert_to_rgb
    named = {"return_numpy": True} if "return_numpy" in signature(convert).parameters else {}
    return np.array(convert(image, **named))


#: What video processors do where nobody says, and warn that a version to come will not.
UNSAID = {"cap_pixels_per_frame": False}


def unsaid(taker: Any) -> dict[str, Any]:
    """What a video processor would warn of and do, as options that say so.

    One that has no such option, or an answer of its own, is told nothing.
    """
    asked = getattr(taker.valid_kwargs, "__annotations__", {})
    return {
        name: value
        for name, value in UNSAID.items()
        if name in asked and getattr(taker, name, None) is None
    }


def refuse_older(since: str, what: str, otherwise: str) -> None:
    """Refuse what a transformers older than some version takes, and then cannot run.

    Args:
        since: the first version that can, such as ``"5.23"``.
        what: what it is, as messages call it.
        otherwise: what goes without.

    Raises:
        UnsupportedModelError: the installed one is older.
    """
    from transformers import __version__

    now, first = ([int(part) for part in v.split(".")[:2]] for v in (__version__, since))
    if now < first:
        raise UnsupportedModelError(
            f"transformers {__version__} cannot run {what}: install {since} or newer. {otherwise}"
        )
