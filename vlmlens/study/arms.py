"""Which models are seeds of one arm, and which are cells of the test of scale and position."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

ARMS = ("base", "normalize", "multilayer", "both")
#: What the arms are called in print.
NAMES: Mapping[str, str] = MappingProxyType(
    {
        "base": "base",
        "normalize": "+Normalize",
        "multilayer": "+Multilayer",
        "both": "+Normalize +Multilayer",
    }
)
POSITIONS = ("kept", "zeroed", "trained")
SCALES = ("x1", "x10", "x30")


def seeds_of(models: Iterable[str]) -> dict[str, list[str]]:
    """Arm -> its runs with the tower as it is and the projector as it begins, by seed."""
    split = {name: name.split("-") for name in sorted(models)}
    arms = {
        arm: [name for name, (a, *rest) in split.items() if a == arm and rest[:2] == ["kept", "x1"]]
        for arm in ARMS
    }
    return {arm: names for arm, names in arms.items() if names}


def cells_of(models: Iterable[str]) -> dict[tuple[str, str], list[str]]:
    """(position, scale) -> the runs of base that have both, by seed."""
    split = [(name, name.split("-")) for name in sorted(models)]
    cells = {
        (p, s): [name for name, parts in split if parts[:3] == ["base", p, s]]
        for p in POSITIONS
        for s in SCALES
    }
    return {cell: names for cell, names in cells.items() if names}
