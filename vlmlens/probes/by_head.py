"""Linear probes by head: can a label be read off one head alone, or off a few of its channels?"""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import numpy as np
import xarray as xr
from jaxtyping import Float, Int, Shaped

from vlmlens.annotations import checked
from vlmlens.cache import Save
from vlmlens.checks import whole
from vlmlens.draws import together, unit_named
from vlmlens.errors import InputError
from vlmlens.model import Run
from vlmlens.probes.labels import layer_numbers
from vlmlens.probes.linear import FEW, by_sample, dealt_out, over_pictures, tokens_of, units_of
from vlmlens.probes.statistics import mean_map

NEEDS = (Save("blocks.*.attn.hook_z"),)
SOURCE = "arXiv:2305.01610"
#: What is added to the diagonal, as in scikit-learn's ridge classifier.
RIDGE = 1.0
Split = tuple[Int[np.ndarray, " _train"], Int[np.ndarray, " _test"]]


@checked
def head_probe(
    runs: Run | Sequence[Run],
    labels: str | Sequence[Sequence[str]],
    *,
    need: Save = NEEDS[0],
    keep: int | None = None,
    folds: int = 5,
    seed: int = 0,
) -> xr.Dataset:
    """How well a label is read off vision tokens from each head alone.

    ``linear_probe`` with one classifier a head in place of one for all: ridge on standardised
    channels of that head, all heads of a layer in one solve, on the same folds by picture, beside
    the same control. With ``keep`` it is sparse: in every fold the ``keep`` channels that tell
    labels apart best in training (analysis of variance, F) are all that a head's probe sees.

    Args:
        runs: one or more runs (batches) that saved ``need``.
        labels: as ``linear_probe`` takes them.
        need: points with the axes ``batch pos head`` and one more: ``attn.hook_z``,
            ``attn.hook_result``, keys or values (of key-value heads then).
        keep: channels of a head that its probe sees; None for all.
        folds: of the cross-validation; at most as many as there are pictures.
        seed: of the folds and the control.

    Returns:
        Over (layer, head): ``accuracy``, ``accuracy_low``, ``accuracy_high`` (95 %, over pictures),
        ``control`` (shuffled labels), ``majority``; fractions. ``per_picture`` (sample, layer,
        head) and, with ``keep``, ``kept`` (layer, head, rank): the channels that tell labels
        apart best among all tokens, best first. Intervals are each head's own; ``map_test`` of
        ``per_picture`` corrects for there being many.

    Raises:
        InputError: points without heads, more channels than a head has, labels or pictures as
            ``linear_probe`` refuses them.
        UnknownPointError: the runs did not save what this needs.

    Source: Gurnee et al. 2023, "Finding Neurons in a Haystack: Case Studies with Sparse Probing",
    arXiv:2305.01610; the control after Hewitt and Liang 2019, arXiv:1909.03368.

    Examples:
        >>> run = model.run(model.inputs(samples), save="blocks.*.attn.hook_z")
        >>> found = vl.probes.head_probe(run, "row", keep=4, folds=2)
        >>> dict(found.accuracy.sizes), dict(found.kept.sizes)
        ({'layer': 4, 'head': 4}, {'layer': 4, 'head': 4, 'rank': 4})
    """
    runs = [runs] if isinstance(runs, Run) else list(runs)
    y, sample, kept = tokens_of(runs, labels)
    units = units_of(runs)
    picture = np.unique(together(units, apart=False), return_inverse=True)[1][sample]
    names, number = np.unique(y, return_inverse=True)
    if len(np.unique(picture)) < 2 or len(names) < 2:
        raise InputError(FEW)
    shuffled = dealt_out(number, np.unique(units, return_inverse=True)[1][sample], seed)
    parts = _folds(picture, whole(folds, "folds", least=2), seed)
    layers = layer_numbers(runs[0], need)
    features = [_features(runs, need, at)[kept] for at in range(len(layers))]
    heads, width = features[0].shape[1], min(x.shape[2] for x in features)
    if keep is not None:
        whole(keep, "keep", least=1, most=width)
    right = np.full((len(units), len(layers), heads), np.nan)
    control, channels = np.zeros((len(layers), heads)), []
    for at, x in enumerate(features):
        hits = _right(x, number, number, len(names), parts, keep)
        chance = _right(x, shuffled, number, len(names), parts, keep)
        for own in np.unique(sample):
            right[own, at] = hits[sample == own].mean(0)
        control[at] = [by_sample(each, sample) for each in chance.T]
        best = np.argsort(-variance_ratio(x, number, len(names)), -1, kind="stable")
        channels.append(best[:, :keep])
    coords = {"layer": layers, "head": np.arange(heads), "picture": ("sample", units)}
    each = xr.DataArray(right, coords, ("sample", "layer", "head"))
    common = np.concatenate([number[b] == np.bincount(number[a]).argmax() for a, b in parts])
    order = np.concatenate([b for _, b in parts])
    made = _table(each, control, by_sample(common[np.argsort(order)].astype(float), sample), y)
    if keep is not None:
        made["kept"] = (("layer", "head", "rank"), np.stack(channels))
    told = labels if isinstance(labels, str) else "given"
    made.attrs |= {"n": len(y), "label": told, "keep": "all" if keep is None else keep}
    made.attrs |= {"interval": f"95 %, over {unit_named(units)}s; as of linear_probe"}
    return made


def _table(
    each: xr.DataArray,
    control: Float[np.ndarray, "layer head"],
    majority: float,
    y: Shaped[np.ndarray, " token"],
) -> xr.Dataset:
    found = mean_map(each, shares=True)
    low, high = over_pictures(each, len(y) / int(each.isel(layer=0, head=0).notnull().sum()))
    shape, dims = control.shape, ("layer", "head")
    made = xr.Dataset(
        {
            "accuracy": found["mean"],
            "accuracy_low": (dims, low.reshape(shape)),
            "accuracy_high": (dims, high.reshape(shape)),
            "control": (dims, control),
            "majority": (dims, np.full(shape, majority)),
            "per_picture": each,
        },
        attrs={"source": SOURCE, "correction": found.attrs["correction"]},
    )
    for name in made:
        made[name].attrs = {"units": "fraction", "long_name": f"probe of a head: {name}"}
    return made


def _features(runs: Sequence[Run], need: Save, at: int) -> Float[np.ndarray, "token head d_head"]:
    """One layer's activations of all vision tokens of all samples, head by head.

    Raises:
        InputError: a point without heads.
    """
    found = []
    for run in runs:
        name = [name for name in run.saved if fnmatchcase(name, need.points)][at]
        own = Save(name, need.rows, need.reduce)  # heads of one layer may be wider than another's
        x = run.saved.stack(own)[0].double().cpu().numpy()
        if x.ndim != 4:
            raise InputError(
                f"{need.points} has no heads: a point with the axes batch pos head ... is wanted, "
                "such as blocks.*.attn.hook_z; linear_probe reads any other"
            )
        if x.shape[1] != len(run.inputs.layouts[0]):
            raise InputError(
                f"{name} was saved at {x.shape[1]} of {len(run.inputs.layouts[0])} positions: "
                "all are wanted; leave rows= out of need"
            )
        found += [x[i][layout.mask("vision")] for i, layout in enumerate(run.inputs.layouts)]
    return np.concatenate(found)


def _folds(picture: Int[np.ndarray, " token"], folds: int, seed: int) -> list[Split]:
    """Tokens to train on and to test on, each picture tested once."""
    drawn = np.random.default_rng(seed).permutation(np.unique(picture))
    parts = np.array_split(drawn, min(folds, len(drawn)))
    inside = [np.isin(picture, own) for own in parts]
    return [(np.flatnonzero(~own), np.flatnonzero(own)) for own in inside]


def _right(
    x: Float[np.ndarray, "token head d_head"],
    taught: Int[np.ndarray, " token"],
    y: Int[np.ndarray, " token"],
    labels: int,
    parts: Sequence[Split],
    keep: int | None,
) -> Float[np.ndarray, "token head"]:
    """Of each token and head, whether the probe is right where it is tested."""
    hits = np.zeros(x.shape[:2])
    for train, test in parts:
        seen, asked = x[train], x[test]
        if keep is not None:
            ratio = variance_ratio(seen, taught[train], labels)
            best = np.argsort(-ratio, -1, kind="stable")[None, :, :keep]
            seen, asked = (np.take_along_axis(own, best, 2) for own in (seen, asked))
        hits[test] = ridge(seen, taught[train], asked, labels) == y[test, None]
    return hits


def ridge(
    x: Float[np.ndarray, "train head channel"],
    y: Int[np.ndarray, " train"],
    asked: Float[np.ndarray, "test head channel"],
    labels: int,
) -> Int[np.ndarray, "test head"]:
    """What a ridge classifier of every head says, on channels standardised in training."""
    mean, spread = x.mean(0), x.std(0)
    spread = np.where(spread > 0, spread, 1.0)
    x, asked = (np.moveaxis((own - mean) / spread, 1, 0) for own in (x, asked))  # head token d
    target = np.where(y[:, None] == np.arange(labels), 1.0, -1.0)
    there = np.bincount(y, minlength=labels) > 0  # training may lack a label: it is never said
    middle = np.where(there, target.mean(0), -np.inf)
    centred = np.where(there, target - target.mean(0), 0.0)
    square = np.swapaxes(x, 1, 2) @ x + RIDGE * np.eye(x.shape[-1])
    weights = np.linalg.solve(square, np.swapaxes(x, 1, 2) @ centred)
    return (asked @ weights + middle).argmax(-1).T


def variance_ratio(
    x: Float[np.ndarray, "token head channel"], y: Int[np.ndarray, " token"], labels: int
) -> Float[np.ndarray, "head channel"]:
    """F of an analysis of variance: how far labels are apart, against how far each is spread."""
    there = [own for own in range(labels) if (y == own).any()]
    within = sum(((x[y == own] - x[y == own].mean(0)) ** 2).sum(0) for own in there)
    between = ((x - x.mean(0)) ** 2).sum(0) - within
    freedom = (len(y) - len(there)) / max(len(there) - 1, 1)
    apart = np.where(between > 1e-12 * (x**2).sum(0), np.inf, 0.0)  # where labels do not spread
    return np.divide(between * freedom, within, out=apart, where=within > 0)
