"""Some of many, by a seed."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from vlmlens.checks import whole
from vlmlens.errors import DataError
from vlmlens.sample import Sample

#: More samples than this nobody means.
MOST = 10**9


def drawn(found: Sequence[Sample], samples: int | None, seed: int) -> list[Sample]:
    """So many of them, in their order; all of them where there are no more.

    Pairs and sets of samples that count as one (``Sample.unit``) are drawn whole or not at all.

    Args:
        found: what there is.
        samples: how many at most; None for all.
        seed: what chooses.

    Raises:
        DataError: fewer than one asked for, or than one pair or set holds; a negative seed.
    """
    units = [
        f"{each.unit} {dict(each.groups)[each.unit]}" if each.unit else str(place)
        for place, each in enumerate(found)
    ]
    return [found[place] for place in places(units, samples, seed)]


def places(units: Sequence[str], samples: int | None, seed: int) -> list[int]:
    """Which of them are drawn, in order; those of one unit together.

    Args:
        units: what each belongs to.
        samples: how many at most; None for all.
        seed: what chooses.

    Raises:
        DataError: as ``drawn``.
    """
    if samples is not None and whole(samples, "samples", most=MOST) < 1:
        raise DataError(f"{samples} samples asked for; ask for at least one, or leave it out")
    if whole(seed, "seed") < 0:
        raise DataError(f"the seed {seed} is negative; take 0 or more")
    if samples is None or len(units) <= samples:
        return list(range(len(units)))
    rng = np.random.default_rng(seed)
    sizes, kept, room = Counter(units), set(), samples
    if len(sizes) == len(units):
        return sorted(rng.choice(len(units), samples, replace=False).tolist())
    for name in rng.permutation(sorted(sizes)).tolist():
        if sizes[name] <= room:
            kept.add(name)
            room -= sizes[name]
    if not kept:
        raise DataError(f"{samples} samples asked for, and {min(sizes.values())} belong together")
    return [place for place, name in enumerate(units) if name in kept]
