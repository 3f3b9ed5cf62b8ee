"""Some of many, by a seed."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from vlmlens.checks import whole
from vlmlens.errors import DataError

T = TypeVar("T")
#: More samples than this nobody means.
MOST = 10**9


def drawn(found: Sequence[T], samples: int | None, seed: int) -> list[T]:
    """So many of them, in their order; all of them where there are no more.

    Args:
        found: what there is.
        samples: how many at most; None for all.
        seed: what chooses.

    Raises:
        DataError: fewer than one asked for, or a negative seed.
    """
    if samples is not None and whole(samples, "samples", most=MOST) < 1:
        raise DataError(f"{samples} samples asked for; ask for at least one, or leave it out")
    if whole(seed, "seed") < 0:
        raise DataError(f"the seed {seed} is negative; take 0 or more")
    if samples is None or len(found) <= samples:
        return list(found)
    chosen = np.random.default_rng(seed).choice(len(found), samples, replace=False)
    return [found[i] for i in sorted(chosen)]
