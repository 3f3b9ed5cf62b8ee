"""Cluster test on the image grid."""

import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from scipy import ndimage, stats

from vlmlens.draws import by_scene, units_of
from vlmlens.errors import InputError
from vlmlens.estimates import FEW, cautious_t, student
from vlmlens.probes.statistics.columns import check_labelled
from vlmlens.probes.statistics.intervals import drawn_from
from vlmlens.probes.statistics.maps import TESTS

#: Patches that touch along an edge are neighbours.
NEIGHBOURS = ndimage.generate_binary_structure(2, 1)


def cluster_test(
    values: xr.DataArray,
    null: float | xr.DataArray = 0.0,
    *,
    threshold: float = 0.05,
    test: str = "mean",
    over: str = "sample",
    scene: str | bool | None = None,
    permutations: int = 999,
    seed: int = 0,
) -> xr.Dataset:
    """Regions of the image in which the mean differs from a null value.

    Each patch gets its z (``map_test``: t, corrected for skewness), or Student's t where signs
    are exchanged. Neighbouring patches beyond the threshold, of one sign, form a cluster; its
    mass is the sum of their |z|. Maps are redrawn as in ``map_test`` and the largest mass of each
    is kept: a cluster's p is the share of maps whose largest mass reaches its own. This says that
    SOME part of the cluster differs, not where its border runs.

    Args:
        values: (sample, row, column); NaN is taken for no deviation.
        null: the value that means nothing, or an array of them.
        threshold: two-sided p of a single patch that makes it part of a cluster. It decides what
            clusters look like, not how often one is found by chance.
        test: ``"mean"`` or ``"exchange"``, as in ``map_test``.
        over: the samples' dimension.
        scene: a coordinate of it: samples of one scene are drawn together; ``map_test``.
        permutations: how many maps are redrawn.
        seed: of the redrawing.

    Returns:
        Over (row, column): ``t``, Student's (0 where nothing varies), ``cluster`` (0 outside, else
        numbered by mass) and ``p``, the cluster's (1 outside). The attribute ``correction`` says
        so.

    Raises:
        InputError: other dimensions, an unknown test, infinite values, or too few samples or
            pictures: two, and five for the test of the mean.

    Source: Maris and Oostenveld 2007, "Nonparametric statistical testing of EEG- and MEG-data".

    Examples:
        >>> import xarray as xr
        >>> from vlmlens.probes.statistics import cluster_test
        >>> values = np.random.default_rng(0).normal(size=(20, 6, 6))
        >>> values[:, :2, :2] += 3  # the top left differs from 0
        >>> maps = xr.DataArray(values, dims=("sample", "row", "column"))
        >>> found = cluster_test(maps, permutations=99)
        >>> (found.cluster == 1).values[:3, :3].astype(int).tolist()
        [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    """
    check_labelled(values, "a cluster test")
    if set(values.dims) != {over, "row", "column"}:
        raise InputError(f"clusters lie on ({over}, row, column); the values have {values.dims}")
    if test not in TESTS:
        raise InputError(f"test={test!r}; there is: {', '.join(TESTS)}")
    deviation = (values - null).transpose(over, "row", "column").assign_coords(values.coords)
    units, _ = by_scene(deviation, over, scene)
    unit, _ = units_of(deviation, over, scene)
    least = FEW if test == "mean" else 2
    if len(units) < least:
        raise InputError(
            f"a cluster test needs {least} samples or scenes at least; there are {len(units)} "
            f"{unit}s. test='exchange' makes do with two samples, for conditions that may change "
            "places"
        )
    shape = (values.sizes["row"], values.sizes["column"])
    limit = float(stats.t.isf(threshold / 2, len(units) - 1))
    powers = [(units**k).sum(0) for k in (1, 2, 3)]
    t, _ = student(float(len(units)), *powers)
    steady = np.isinf(t)  # the same in every sample: no t
    z = _z(units, np.ones((1, len(units))), test)[0]
    t, z = (np.where(steady, 0.0, each).reshape(shape) for each in (t, z))
    label, masses = _clusters(z, limit)
    rng = np.random.default_rng(seed)
    if test == "mean":
        centred = units - units.mean(0)
        share = np.full(len(units), 1 / len(units))
        maps = _z(centred, rng.multinomial(len(units), share, permutations).astype(float), test)
    else:
        maps = _z(units, 2.0 * rng.integers(0, 2, (permutations, len(units))) - 1, test)
    largest = np.array([_clusters(m.reshape(shape), limit)[1].max(initial=0.0) for m in maps])
    order = np.argsort(-masses)
    cluster, p = np.zeros(shape, dtype=int), np.ones(shape)
    for rank, index in enumerate(order, 1):
        here = label == index + 1
        cluster[here] = rank
        p[here] = (1 + (largest >= masses[index] - 1e-9).sum()) / (permutations + 1)
    grid = values.isel({over: 0}, drop=True).transpose("row", "column")
    found = {"t": t, "cluster": cluster, "p": p}
    made = xr.Dataset({name: grid.copy(data=cell) for name, cell in found.items()})
    made.attrs = drawn_from(unit, len(units)) | {
        "correction": "family-wise: the largest cluster of each redrawn map",
        "test": f"clusters, {TESTS[test]} over {unit}s, |t| > {limit:.3f}, {permutations}",
        "clusters": len(masses),
    }
    return made


def _z(
    units: Float[np.ndarray, "unit cell"], weights: Float[np.ndarray, "map unit"], test: str
) -> Float[np.ndarray, "map cell"]:
    """t, or its skewness-corrected form, of every cell under every weighting of units."""
    n = float(len(units))
    if test == "mean":  # weights are counts: how often a unit was drawn
        z = cautious_t(n, *(weights @ units**k for k in (1, 2, 3)))
    else:
        z, _ = student(n, weights @ units, (units**2).sum(0)[None], np.zeros(units.shape[1]))
    return np.clip(z, -1e6, 1e6)


def _clusters(
    t: Float[np.ndarray, "row column"], limit: float
) -> tuple[Int[np.ndarray, "row column"], Float[np.ndarray, " cluster"]]:
    """Clusters numbered from 1, and the mass of each."""
    label, count = np.zeros(t.shape, dtype=int), 0
    for side in (t > limit, t < -limit):
        here, found = ndimage.label(side, NEIGHBOURS)  # type: ignore[misc]
        label = np.where(here > 0, here + count, label)
        count += found
    masses = ndimage.sum_labels(np.abs(t), label, np.arange(1, count + 1))
    return label, np.asarray(masses, dtype=float).reshape(count)
