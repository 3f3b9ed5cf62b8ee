"""Two models or conditions: by how much one ratio of sums differs from another."""

import numpy as np
from jaxtyping import Float

from vlmlens.estimates import mean_interval, ratio_interval, share_interval

Units = Float[np.ndarray, " unit"]


def ratio_difference(
    one: tuple[Units, Units], other: tuple[Units, Units], *, count: Units | None = None
) -> Float[np.ndarray, " 3"]:
    """``other``'s ratio less ``one``'s, of the same units, and its 95 % interval, paired by unit.

    With R = sum(x) / sum(y) of each, the interval is that of the mean over units of what each adds
    to the difference:

        A2 - A1,    A = R + (x - R y) / mean(y)

    and where both have the same y, as means do, that of the ratio sum(x2 - x1) / sum(y).

    Args:
        one: x and y, a number a unit each.
        other: the same of the same units.
        count: each unit's answers, where the ratios are shares of them: where all units add the
            same, the interval is then as wide as that of a share of which none was seen.

    Returns:
        Difference, low and high; NaN where a y sums to 0, ends also for fewer than two units.

    Examples:
        >>> from vlmlens.probes.statistics.between import ratio_difference
        >>> each = np.ones(6)
        >>> found = ratio_difference((np.arange(6.0), each), (np.arange(6.0) * 2, each))
        >>> found.round(2).tolist()
        [2.5, 0.46, 4.54]
    """
    (x, y), (x2, y2) = one, other
    if np.array_equal(y, y2):
        every = np.ones((len(y), 1), dtype=bool)
        found = ratio_interval((x2 - x)[:, None], y[:, None], every)[:, 0]
    else:
        added = (_added(x2, y2) - _added(x, y))[:, None]
        if np.isnan(added).any():
            return np.full(3, np.nan)
        found = mean_interval(added, np.ones(added.shape))[:, 0]
    if count is not None and found[1] == found[2]:  # all agree: of few units that says little
        unseen = share_interval(np.zeros((len(count), 1)), count[:, None])[2, 0]
        found[1:] = found[0] - unseen, found[0] + unseen
    return found


def _added(x: Units, y: Units) -> Units:
    """What every unit adds to a ratio: numbers whose mean it is; NaN where y sums to 0."""
    if not y.sum():
        return np.full(y.shape, np.nan)
    ratio = x.sum() / y.sum()
    return ratio + (x - ratio * y) / y.mean()
