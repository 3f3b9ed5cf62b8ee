"""Localization heads: the few whose attention says where the thing is that is asked about."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from scipy.special import entr

from vlmlens.annotations import checked
from vlmlens.checks import number, plain, shown, whole
from vlmlens.errors import InputError
from vlmlens.layout import EDGES
from vlmlens.looking import edges
from vlmlens.model import Run
from vlmlens.probes.attention_maps import image_attention
from vlmlens.probes.grids import Box
from vlmlens.probes.labels import array
from vlmlens.probes.statistics import mean_map
from vlmlens.probes.steps import LAST_ROWS

NEEDS = (LAST_ROWS,)
SOURCE = "arXiv:2503.06287"
#: Cells that touch, at a side or a corner, are of one cluster.
TOUCHING = np.ones((3, 3))
DIMS = ("sample", "layer", "head")


@checked
def localization_heads(run: Run, *, image: int = 0, skip: int = 2, lowest: int = 10) -> xr.Dataset:
    """Heads that look at one place of the image, sample after sample.

    Two criteria, of the last row's weights A on the image's patches:

        S = sum A,  which must reach a bound in the mean over samples
        H = - sum P(C) log P(C),  with C the clusters of patches above A's mean, P their shares

    The bound is the point of largest curvature of all heads' sorted mean S: the one farthest from
    the line between the smallest and the largest. In every sample the ``lowest`` heads by H among
    those that reach it are picked; how often a head is says whether it localizes.

    Args:
        run: a run that saved ``NEEDS``.
        image: which of the samples' images.
        skip: blocks at the beginning that are left out.
        lowest: how many heads are picked in a sample.

    Returns:
        ``attention`` (sample, layer, head), S, a fraction; ``entropy`` (sample, layer, head), H in
        nats, 0 where one cluster is above the mean, NaN where none is; ``picked`` (sample, layer,
        head), 0 or 1; ``frequency``, ``frequency_low``, ``frequency_high`` (layer, head), its
        mean and 95 % interval; ``heads`` (rank, part), layer and head, the most frequent first
        and of equally frequent ones that of the least entropy: those that reach the bound. The
        attribute ``bound``.

    Raises:
        InputError: no block left, or none picked.
        EmptySelectionError: a sample without that image.
        UnknownPointError: the run saved no rows.

    Source: Kang et al. 2025, "Your Large Vision-Language Model Only Needs A Few Attention Heads For
    Visual Grounding", arXiv:2503.06287.

    Examples:
        >>> run = model.run(model.inputs(samples), save=vl.probes.localization.NEEDS)
        >>> found = vl.probes.localization_heads(run, lowest=2)
        >>> dict(found.entropy.sizes), found.picked.sum(("layer", "head")).values.tolist()
        ({'sample': 4, 'layer': 2, 'head': 4}, [2.0, 2.0, 2.0, 2.0])
    """
    whole(lowest, "lowest", least=1)
    maps = image_attention(run, image=image)
    maps = maps.isel(layer=maps["layer"].values >= whole(skip, "skip", least=0))
    if not maps.sizes["layer"]:
        raise InputError(f"skip={skip}: no block with attention is left")
    total = maps.sum(("row", "column"))
    entropy = total.copy(data=np.vectorize(spatial_entropy, signature="(r,c)->()")(maps.values))
    mean = total.mean("sample")
    bound = largest_curvature(mean.values.ravel())
    among = entropy.where(mean >= bound)
    order = np.argsort(np.argsort(among.values.reshape(len(among), -1), axis=-1, kind="stable"))
    picked = (order.reshape(among.shape) < lowest) & among.notnull().values
    said = ("picked", "among the least spread", "0 or 1", SOURCE)
    chosen = array(torch.from_numpy(picked), DIMS, run.inputs, *said, layer=maps["layer"].values)
    often = mean_map(chosen, shares=True)
    total.attrs = {"long_name": "attention to the image", "units": "fraction"}
    entropy.attrs = {"long_name": "spatial entropy of attention", "units": "nats"}
    table = xr.Dataset({"attention": total, "entropy": entropy, "picked": chosen})
    for end, own in (("", "mean"), ("_low", "low"), ("_high", "high")):
        table[f"frequency{end}"] = often[own]
    table["heads"] = (("rank", "part"), _ranked(table, bound))
    table = table.assign_coords(part=["layer", "head"])
    table.attrs = {"source": SOURCE, "bound": bound, "lowest": lowest, "skip": skip}
    table.attrs |= {k: often.attrs[k] for k in ("interval", "unit", "n_units")}
    return table


@checked
def localization_map(
    run: Run,
    heads: Sequence[Sequence[int]] | xr.DataArray,
    *,
    image: int = 0,
    sigma: int | float = 1.0,
) -> xr.Dataset:
    """Where some heads look together: a map of heat, and the box of its largest cluster.

    Every head's map is smoothed by a Gaussian and all are added up. The box is drawn tightly around
    the largest cluster of patches above the sum's mean.

    Args:
        run: a run that saved ``NEEDS``.
        heads: (layer, head) of each: ``localization_heads(run).heads[:3]``, or by hand.
        image: which of the samples' images.
        sigma: of the Gaussian, in patches; 0 smooths nothing.

    Returns:
        ``heat`` (sample, row, column), sums of attention, with coordinates for ``plots.overlay``;
        ``box`` (sample, edge), in pixels of the original image: left, top, right, bottom. NaN where
        the heads give the image nothing, or spread it evenly.

    Raises:
        InputError: no heads, or one that the run has no rows of; pictures of unknown size.

    Source: Kang et al. 2025, arXiv:2503.06287.

    Examples:
        >>> run = model.run(model.inputs(samples), save=vl.probes.localization.NEEDS)
        >>> heads = vl.probes.localization_heads(run, lowest=2).heads[:1]
        >>> found = vl.probes.localization_map(run, heads)
        >>> dict(found.heat.sizes), found.box.edge.values.tolist()
        ({'sample': 4, 'row': 8, 'column': 8}, ['left', 'top', 'right', 'bottom'])
    """
    number(sigma, "sigma", least=0)
    maps = image_attention(run, image=image)
    if any(edge not in maps.coords for edge in EDGES):
        raise InputError("where patches lie is unknown: these inputs were made of tensors")
    pairs = [tuple(map(int, pair)) for pair in np.asarray(heads).tolist()]
    known = {(layer, head) for layer in maps["layer"].values for head in maps["head"].values}
    if not pairs or not set(pairs) <= known:
        raise InputError(f"heads={shown(pairs)}: (layer, head) of heads that the run has rows of")
    each = [maps.sel(layer=layer, head=head, drop=True).values for layer, head in pairs]
    heat = np.stack([sum(_smoothed(own[at], sigma) for own in each) for at in range(len(maps))])
    rest = maps.isel(layer=0, head=0, drop=True)
    table = xr.Dataset({"heat": rest.copy(data=heat)})
    edges = np.stack([maps[edge].values for edge in EDGES], -1)
    boxes = np.stack([_box(*own) for own in zip(heat, edges, strict=True)])
    table["box"] = (("sample", "edge"), boxes)
    table = table.assign_coords(edge=list(EDGES))
    table["heat"].attrs = {"long_name": "attention of the heads", "units": "fraction"}
    table["box"].attrs = {"units": "pixels of the original image"}
    table.attrs = {"source": SOURCE, "heads": str(pairs), "sigma": sigma}
    return table


@checked
def box_overlap(found: xr.DataArray, boxes: Sequence[Box]) -> xr.DataArray:
    """How well boxes cover the right ones: intersection over union.

    Args:
        found: (sample, edge), ``localization_map(...).box``.
        boxes: the right one of every sample: left, top, right, bottom in pixels.

    Returns:
        (sample), a fraction: 1 where they are the same, 0 where they are apart or none was found.

    Raises:
        InputError: not one box a sample.

    Examples:
        >>> run = model.run(model.inputs([sample]), save=vl.probes.localization.NEEDS)
        >>> found = vl.probes.localization_map(run, [(2, 0)])
        >>> vl.probes.box_overlap(found.box, found.box.values.tolist()).item()
        1.0
    """
    right = np.array([_none(box) or edges(box) for box in boxes], float)
    if right.shape != found.shape:
        raise InputError(f"boxes are {right.shape}: one of four edges for {len(found)} samples")
    one, other = (np.moveaxis(x, -1, 0) for x in (found.values, right))
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    common = np.prod(np.clip(sides, 0, None), 0)
    both = sum(np.prod(x[2:] - x[:2], 0) for x in (one, other)) - common
    share = np.divide(common, both, out=np.zeros(len(found)), where=both > 0)
    rest = found.isel(edge=0, drop=True)
    made = rest.copy(data=np.where(np.isnan(common), 0.0, share)).rename("overlap")
    made.attrs = {"long_name": "intersection over union", "units": "fraction"}
    return made


def _none(box: Any) -> tuple[float, ...]:
    """What stands for the box of a sample without one: NaN, at any edge; nothing for a box."""
    given = plain(box)
    return (
        (np.nan,) * 4
        if isinstance(given, list | tuple) and any(edge != edge for edge in given)
        else ()
    )


def spatial_entropy(weights: Float[np.ndarray, "row column"]) -> float:
    """How many places a map is spread over: the entropy of its clusters' shares, in nats."""
    there = np.nan_to_num(weights)
    clusters, count = _clusters(there > np.nanmean(weights))
    if not count or not there.any():
        return float("nan")
    sizes = np.bincount(clusters.ravel())[1:]
    return float(entr(sizes / sizes.sum()).sum())


def _clusters(
    there: Bool[np.ndarray, "row column"],
) -> tuple[Int[np.ndarray, "row column"], int]:
    """Cells that touch, numbered from 1 cluster by cluster, and how many clusters there are."""
    found: Any = ndimage.label(there, TOUCHING)
    return found


def largest_curvature(values: Float[np.ndarray, " value"]) -> float:
    """The value, of sorted ones, that lies farthest from the line between both ends."""
    y = np.sort(values)
    line = np.linspace(y[0], y[-1], len(y))
    return float(y[np.abs(y - line).argmax()])


def _ranked(table: xr.Dataset, bound: float) -> list[tuple[int, int]]:
    """Heads that reach the bound, the most frequent first."""
    layers = table["layer"].values.tolist()
    mean = table["entropy"].mean("sample").values
    places = np.argwhere(table["attention"].mean("sample").values >= bound).tolist()
    often = table["frequency"].values
    places.sort(key=lambda at: (-often[*at], np.nan_to_num(mean[*at], nan=np.inf)))
    return [(layers[layer], head) for layer, head in places]


def _smoothed(
    weights: Float[np.ndarray, "row column"], sigma: int | float
) -> Float[np.ndarray, "row column"]:
    """A map smoothed on its own grid; beyond it stays NaN."""
    seen = ~np.isnan(weights)
    rows, columns = seen.any(1).sum(), seen.any(0).sum()
    made = np.full_like(weights, np.nan)
    own = weights[:rows, :columns]
    made[:rows, :columns] = ndimage.gaussian_filter(own, sigma, truncate=3.0) if sigma else own
    return made


def _box(
    heat: Float[np.ndarray, "row column"], edges: Float[np.ndarray, "row column edge"]
) -> Float[np.ndarray, " edge"]:
    """The tight box of the largest cluster above the mean."""
    clusters, count = _clusters(np.nan_to_num(heat) > np.nanmean(heat))
    if not count:
        return np.full(4, np.nan)
    inside = edges[clusters == 1 + np.bincount(clusters.ravel())[1:].argmax()]
    return np.concatenate([inside[:, :2].min(0), inside[:, 2:].max(0)])
