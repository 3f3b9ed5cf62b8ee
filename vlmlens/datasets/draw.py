"""Some of many, by a seed."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from vlmlens.checks import whole
from vlmlens.errors import DataError

T = TypeVar("T")
#: More samples than this nobody means.
MOST = 10**9


def drawn(
    found: Sequence[T],
    samples: int | None,
    seed: int,
    unit: Callable[[T], str] | None = None,
) -> list[T]:
    """So many of them, in their order; all of them where there are no more.

    Args:
        found: what there is.
        samples: how many at most; None for all.
        seed: what chooses.
        unit: what each belongs to, a pair or a set of several: it is drawn whole or not at all.

    Raises:
        DataError: fewer than one asked for, or than one unit holds; a negative seed.
    """
    if samples is not None and whole(samples, "samples", most=MOST) < 1:
        raise DataError(f"{samples} samples asked for; ask for at least one, or leave it out")
    if whole(seed, "seed") < 0:
        raise DataError(f"the seed {seed} is negative; take 0 or more")
    if samples is None or len(found) <= samples:
        return list(found)
    rng = np.random.default_rng(seed)
    if unit is None:
        return [found[i] for i in sorted(rng.choice(len(found), samples, replace=False))]
    names = [unit(each) for each in found]
    sizes, kept, room = Counter(names), set(), samples
    for name in rng.permutation(sorted(sizes)).tolist():
        if sizes[name] <= room:
            kept.add(name)
            room -= sizes[name]
    if not kept:
        raise DataError(f"{samples} samples asked for, and {min(sizes.values())} belong together")
    return [each for each, name in zip(found, names, strict=True) if name in kept]
