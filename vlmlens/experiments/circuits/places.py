"""Places: the positions at which a node of one name is several nodes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool

from vlmlens.checks import shown
from vlmlens.errors import InputError
from vlmlens.layout import TokenLayout
from vlmlens.positions import Positions, chosen
from vlmlens.sample import Sample

#: What users write: words (``("vision", "last")``), or positions by a name of their own; a function
#: says of each sample which positions are meant (where its objects are).
Places: TypeAlias = Sequence[str] | Mapping[str, Positions | Callable[[Sample], Positions]]
#: What is left over, where anything is.
REST = "rest"


def as_places(given: Places) -> dict[str, Positions | Callable[[Sample], Positions]]:
    """Places by their names; none where nodes are not split.

    Raises:
        InputError: what names no places.
    """
    words: Any = (given,) if isinstance(given, str) else given
    found: dict[str, Any]
    if isinstance(words, Mapping):
        found = dict(words)
    elif isinstance(words, Sequence) and all(isinstance(word, str) for word in words):
        found = {word: word for word in words if word != REST}
    else:
        raise InputError(
            f"places={shown(given)}: roles, such as ('vision', 'last'), or positions by name, "
            "such as {'left': Column((0.0, 0.5))}"
        )
    if bad := [n for n in found if not isinstance(n, str) or not n or "@" in n or n == REST]:
        raise InputError(
            f"places={shown(given)}: {bad[0]!r} is no name of a place: a word without @ is wanted, "
            f"and {REST!r} is what is left over"
        )
    return found


def split(
    places: Mapping[str, Positions | Callable[[Sample], Positions]],
    samples: Sequence[Sample],
    layouts: Sequence[TokenLayout],
) -> dict[str, Bool[np.ndarray, "sample pos"]]:
    """The positions of every place; a position in several is the first one's, ``rest`` comes last.

    Without places, one that holds every position and is called "".

    Raises:
        InputError: a place whose positions are all in earlier ones.
        EmptySelectionError: a place that a sample does not have.
    """
    free = np.stack([~layout.mask("pad") for layout in layouts])
    if not places:
        return {"": free}
    found = {}
    for name, wanted in places.items():
        meant = [wanted(sample) if callable(wanted) else wanted for sample in samples]
        mask = np.stack([chosen(layout, own) for layout, own in zip(layouts, meant, strict=True)])
        found[name] = mask & free
        if not found[name].any(1).all():
            raise InputError(
                f"place {name!r}: all its positions are in {', '.join(list(found)[:-1])}, which "
                "come first; name it before them"
            )
        free = free & ~mask
    return found | {REST: free}
