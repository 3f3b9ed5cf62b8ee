"""Which answers each shuffle flips."""

import numpy as np
import xarray as xr

from vlmlens.annotations import checked
from vlmlens.draws import units_of
from vlmlens.errors import InputError
from vlmlens.probes.graded import GOLD, OWN, against_own, graded, refuse_missing, untested
from vlmlens.probes.psi import ORIGINAL, groups_of
from vlmlens.probes.statistics import flip_odds, flips
from vlmlens.probes.statistics.intervals import drawn_from


@checked
def answer_flips(
    correct: xr.DataArray, *, scene: str | bool | None = None, reference: str | None = None
) -> xr.Dataset:
    """Which answers each shuffle turned wrong, and which right, with McNemar's exact test.

    Args:
        correct: (sample, permutation), as for ``position_sensitivity_index``.
        scene: as there: answers about one scene, or picture, change places together.
        reference: ``"gold"`` or ``"own"``, as there.

    Returns:
        Over (category, shuffle): ``lost`` and ``gained``, numbers of samples; ``odds``, lost /
        gained (infinite where none was gained, NaN where none flipped); ``p`` of the null that
        flips go either way alike, NaN against the model's own answers. These p are each one
        shuffle's, and not corrected.

    Raises:
        InputError: no column ``"original"``, no other, or one twice; missing values.

    Source: McNemar 1947.

    Examples:
        >>> import xarray as xr
        >>> correct = xr.DataArray(
        ...     [[1, 0], [1, 0], [0, 1], [1, 1]],
        ...     dims=("sample", "permutation"),
        ...     coords={"permutation": ["original", "shuffle 0"]},
        ... )
        >>> found = vl.probes.answer_flips(correct).sel(category="overall", shuffle="shuffle 0")
        >>> found.lost.item(), found.gained.item(), found.odds.item()
        (2.0, 1.0, 2.0)
    """
    correct, _ = graded(correct)
    shuffled = [str(p) for p in correct["permutation"].values if str(p) != ORIGINAL]
    if len(shuffled) in (0, correct.sizes["permutation"]):
        raise InputError(f"flips are counted against {ORIGINAL!r}; there is: {shuffled}")
    own = against_own(correct, reference)
    why_untested = untested(correct, correct.sel(permutation=ORIGINAL), reference)
    refuse_missing("correct", correct)
    groups = groups_of(correct)
    found = []
    for member in groups.values():
        here = correct.isel(sample=member)
        intact = here.sel(permutation=ORIGINAL).values.astype(float)
        _, which = units_of(here, "sample", scene)
        found.append(
            [
                flips(intact, here.sel(permutation=s).values.astype(float), unit=which)
                for s in shuffled
            ]
        )
    cells = {
        "lost": [[f.lost for f in row] for row in found],
        "gained": [[f.gained for f in row] for row in found],
        "odds": [[flip_odds(f.lost, f.gained) for f in row] for row in found],
        "p": [[np.nan if why_untested else f.p for f in row] for row in found],
    }
    unit, which = units_of(correct, "sample", scene)
    return xr.Dataset(
        {name: (("category", "shuffle"), np.array(cell, float)) for name, cell in cells.items()},
        coords={"category": list(groups), "shuffle": shuffled},
        attrs=drawn_from(unit, int(which.max()) + 1)
        | {
            "reference": OWN if own else GOLD,
            "test": why_untested or f"McNemar, exact, over {unit}s",
            "correction": "none: every p is one shuffle's own",
        },
    )
