"""What the probes of a measure read, and how few passes that takes."""

import sys
from collections.abc import Callable, Sequence

from vlmlens.cache import Save
from vlmlens.model import HookedVLM


def needs(chosen: Sequence[Callable]) -> list[Save]:
    """What these probes read, as their modules say."""
    found: list[Save] = []
    for probe in chosen:
        for item in getattr(sys.modules[probe.__module__], "NEEDS", ()):
            if item not in found:
                found.append(item)
    return found


def saves_of(measure: Callable) -> list[Save]:
    """What a measure's probes read, as their modules say: part of what decides over a result."""
    return needs(getattr(measure, "probes", ()))


def passes(model: HookedVLM, chosen: Sequence[Callable]) -> list[list[Callable]]:
    """Probes dealt into passes, so that no pass saves one point in two ways."""
    dealt: list[tuple[list[Callable], dict[str, Save]]] = []
    for probe in chosen:
        wanted = {
            name: Save(name, item.rows, item.reduce)
            for item in needs([probe])
            for name in model.matching(item.points)
        }
        for together, saved in dealt:
            if all(saved.get(name, item) == item for name, item in wanted.items()):
                together.append(probe)
                saved.update(wanted)
                break
        else:
            dealt.append(([probe], wanted))
    return [together for together, _ in dealt]
