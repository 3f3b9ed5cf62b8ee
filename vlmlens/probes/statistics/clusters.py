"""Cluster permutation test on the image grid."""

import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from scipy import ndimage, stats

from vlmlens.errors import InputError
from vlmlens.probes.statistics.intervals import by_scene

#: Patches that touch along an edge are neighbours.
NEIGHBOURS = ndimage.generate_binary_structure(2, 1)


def cluster_test(
    values: xr.DataArray,
    null: float | xr.DataArray = 0.0,
    *,
    threshold: float = 0.05,
    over: str = "sample",
    scene: str | None = None,
    permutations: int = 999,
    seed: int = 0,
) -> xr.Dataset:
    """Regions of the image in which the mean differs from a null value.

    Each patch gets Student's t over samples. Neighbouring patches beyond the threshold, of one
    sign, form a cluster; its mass is the sum of their |t|. Signs of whole samples are flipped
    (as in ``map_test``) and the largest mass of every relabelling is kept: a cluster's p is the
    share of relabellings whose largest mass reaches its own. This says that SOME part of the
    cluster differs, not where its border runs.

    Args:
        values: (sample, row, column); NaN is taken for no deviation.
        null: the value that means nothing, or an array of them.
        threshold: two-sided p of a single patch that makes it part of a cluster. It decides what
            clusters look like, not how often one is found by chance.
        over: the samples' dimension.
        scene: a coordinate of it: samples of one scene flip together.
        permutations: how many relabellings.
        seed: of the relabellings.

    Returns:
        Over (row, column): ``t`` (0 where nothing varies), ``cluster`` (0 outside, else numbered
        by mass) and ``p``, the cluster's (1 outside). The attribute ``correction`` says so.

    Raises:
        InputError: other dimensions, or fewer than two samples.

    Source: Maris and Oostenveld 2007, "Nonparametric statistical testing of EEG- and MEG-data".
    """
    if set(values.dims) != {over, "row", "column"}:
        raise InputError(f"clusters lie on ({over}, row, column); the values have {values.dims}")
    deviation = (values - null).transpose(over, "row", "column").assign_coords(values.coords)
    units, _ = by_scene(deviation, over, scene)
    if len(units) < 2:
        raise InputError("a cluster test needs two samples or scenes at least")
    shape = (values.sizes["row"], values.sizes["column"])
    limit = float(stats.t.isf(threshold / 2, len(units) - 1))
    t = _t(units, np.ones((1, len(units))))[0].reshape(shape)
    label, masses = _clusters(t, limit)
    signs = 2.0 * np.random.default_rng(seed).integers(0, 2, (permutations, len(units))) - 1
    maps = _t(units, signs).reshape(permutations, *shape)
    largest = np.array([_clusters(m, limit)[1].max(initial=0.0) for m in maps])
    order = np.argsort(-masses)
    cluster, p = np.zeros(shape, dtype=int), np.ones(shape)
    for rank, index in enumerate(order, 1):
        here = label == index + 1
        cluster[here] = rank
        p[here] = (1 + (largest >= masses[index] - 1e-9).sum()) / (permutations + 1)
    grid = values.isel({over: 0}, drop=True).transpose("row", "column")
    found = {"t": t, "cluster": cluster, "p": p}
    made = xr.Dataset({name: grid.copy(data=cell) for name, cell in found.items()})
    made.attrs = {
        "correction": "family-wise: the largest cluster of each relabelled map",
        "test": f"cluster permutation over {scene or over}s, |t| > {limit:.3f}, {permutations}",
        "clusters": len(masses),
    }
    return made


def _t(
    units: Float[np.ndarray, "unit cell"], signs: Float[np.ndarray, "map unit"]
) -> Float[np.ndarray, "map cell"]:
    """Student's t of every cell under every pattern of signs."""
    n = len(units)
    mean = signs @ units / n
    variance = np.clip(((units**2).sum(0) - n * mean**2) / (n - 1), 0, None)
    # A patch that is the same in every sample has no t; rounding must not give it one.
    steady = variance <= 1e-12 * (units**2).max(0, initial=0.0)
    return np.where(steady, 0.0, mean / np.sqrt(np.where(steady, 1.0, variance) / n))


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
