"""Linear probes: can row, column, colour or shape be read off a token, layer by layer?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int, Shaped

from vlmlens.annotations import checked
from vlmlens.cache import Save
from vlmlens.checks import shown
from vlmlens.draws import by_scene, together, unit_named
from vlmlens.errors import InputError
from vlmlens.estimates import mean_interval, share_interval
from vlmlens.extras import require
from vlmlens.layout import TokenLayout
from vlmlens.model import Run
from vlmlens.probes.grids import Box
from vlmlens.probes.labels import layer_numbers
from vlmlens.probes.statistics import mean_map

NEEDS = (Save("blocks.*.hook_resid_pre"),)
PLACES = ("row", "column")
FEW = (
    "a probe needs two pictures, or sets of pictures that have none in common, and two different "
    "labels at least"
)


@checked
def linear_probe(
    runs: Run | Sequence[Run],
    labels: str | Sequence[Sequence[str]],
    *,
    need: Save = NEEDS[0],
    folds: int = 5,
    seed: int = 0,
    classifier: Any = None,
) -> xr.Dataset:
    """How well a linear classifier reads a label off vision tokens of pictures it never saw.

    At every layer, a ridge classifier on standardised activations, cross-validated: the pictures
    are dealt into folds, with all questions about them, so that no picture is in both halves.
    Pictures are told apart by their pixels, and those that one sample shows stay together; of raw
    tensors, every sample is one. The control is the
    same thing with the labels dealt out anew among the tokens of each picture, in training only:
    what it reaches can be told from the picture as a whole (which colours it holds), not from the
    patch.

    A label that can be read is not therefore used: see the interventions for that. Patches of one
    picture are not independent draws; intervals are over pictures.

    Args:
        runs: one or more runs (batches) that saved ``need``.
        labels: ``"row"`` or ``"column"``, of the token's patch; or every sample's labels, one for
            each of its vision tokens in the order of positions, ``""`` for tokens to leave out
            (``labels_in_boxes``). Samples count on through the runs.
        need: the points to read: any that have ``pos`` and one more axis.
        folds: of the cross-validation; at most as many as there are pictures.
        seed: of the folds and the control.
        classifier: any scikit-learn classifier in the place of ridge.

    Returns:
        Over ``layer``: ``accuracy``, ``accuracy_low``, ``accuracy_high`` (95 %, over
        pictures), ``control`` (shuffled labels), ``majority`` (always the commonest label), ``n``
        tokens; fractions. And ``per_picture`` (sample, layer), what ``accuracy`` is the mean of,
        with the coordinate ``picture``.

    Raises:
        InputError: fewer than two pictures, or labels that do not fit the tokens or are all alike.
        UnknownPointError: the runs did not save what this needs.
        MissingToolError: scikit-learn, the extra ``probes``, is not installed.

    Source: Alain and Bengio 2016, "Understanding intermediate layers using linear classifier
    probes", arXiv:1610.01644; the control after Hewitt and Liang 2019, arXiv:1909.03368.

    Examples:
        >>> run = model.run(model.inputs(samples), save="blocks.0.hook_resid_pre")
        >>> need = vl.Save("blocks.0.hook_resid_pre")
        >>> found = vl.probes.linear_probe(run, "row", need=need, folds=2)
        >>> found.accuracy.dims, found.majority.values.tolist()  # 8 rows, equally common
        (('layer',), [0.125])
    """
    require("sklearn", "linear_probe")
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    runs = [runs] if isinstance(runs, Run) else list(runs)
    y, sample, kept = tokens_of(runs, labels)
    units = units_of(runs)
    picture = np.unique(together(units, apart=False), return_inverse=True)[1][sample]
    if len(np.unique(picture)) < 2 or len(np.unique(y)) < 2:
        raise InputError(FEW)
    pipeline = make_pipeline(StandardScaler(), classifier or RidgeClassifier())
    split = GroupKFold(min(folds, len(np.unique(picture))), shuffle=True, random_state=seed)
    shuffled = dealt_out(y, np.unique(units, return_inverse=True)[1][sample], seed)
    layers = layer_numbers(runs[0], need)
    right = np.full((len(units), len(layers)), np.nan)
    control, majority = np.zeros(len(layers)), 0.0
    parts = list(split.split(y, groups=picture))
    for column in range(len(layers)):
        x = _features(runs, need, column)[kept]
        hits, chance, common = _right(pipeline, x, y, shuffled, parts)
        for number in np.unique(sample):
            right[number, column] = hits[sample == number].mean()
        control[column] = by_sample(chance, sample)
        majority = by_sample(common, sample)
    coords = {"layer": layers, "picture": ("sample", units)}
    each = xr.DataArray(right, coords, ("sample", "layer"))
    found = mean_map(each, shares=True)
    low, high = over_pictures(each, len(y) / len(np.unique(sample)))
    made = xr.Dataset(
        {
            "accuracy": found["mean"],
            "accuracy_low": ("layer", low),
            "accuracy_high": ("layer", high),
            "control": ("layer", control),
            "majority": ("layer", np.full(len(layers), majority)),
            "per_picture": each,
        },
        attrs={
            "interval": f"95 %, over {unit_named(units)}s; Wilson's with the effective number of "
            "tokens, and Student's and Hall's t of their means, the widest end of each",
            "correction": found.attrs["correction"],
            "n": len(y),
            "label": labels if isinstance(labels, str) else "given",
            "source": "arXiv:1610.01644",
        },
    )
    for name in ("accuracy", "control", "majority", "per_picture"):
        made[name].attrs = {"units": "fraction", "long_name": f"linear probe: {name}"}
    return made


@checked
def labels_in_boxes(layout: TokenLayout, boxes: Mapping[str, Box], *, image: int = 0) -> list[str]:
    """The name of the box that each vision token lies in, ``""`` for none or several.

    Args:
        layout: of one sample.
        boxes: name -> left, top, right, bottom in pixels of the original image.
        image: which of the sample's images; tokens of others have no name.

    Returns:
        One a vision token, in the order of positions.

    Raises:
        InputError: the original image's size is unknown.

    Examples:
        >>> layout = model.inputs([sample]).layouts[0]
        >>> labels = vl.probes.labels_in_boxes(layout, {"left half": (0, 0, 112, 224)})
        >>> len(labels), labels.count("left half")
        (64, 32)
    """
    vision = np.flatnonzero(layout.mask("vision"))
    names = np.full(len(vision), "", dtype=object)
    taken = np.zeros(len(vision), dtype=int)
    for name, box in boxes.items():
        inside = np.isin(vision, layout.within(box, image))
        names[inside] = name
        taken += inside
    return ["" if count != 1 else str(name) for name, count in zip(names, taken, strict=True)]


def dealt_out(
    y: Shaped[np.ndarray, " token"], picture: Int[np.ndarray, " token"], seed: int
) -> Shaped[np.ndarray, " token"]:
    """The control's labels: each picture's own, shuffled among its tokens."""
    rng = np.random.default_rng(seed)
    shuffled = y.copy()
    for number in np.unique(picture):
        own = np.flatnonzero(picture == number)
        shuffled[own] = y[rng.permutation(own)]
    return shuffled


def _right(
    pipeline: Any,
    x: Float[np.ndarray, "token d"],
    y: Shaped[np.ndarray, " token"],
    shuffled: Shaped[np.ndarray, " token"],
    parts: Sequence[tuple[Int[np.ndarray, " _train"], Int[np.ndarray, " _test"]]],
) -> tuple[Float[np.ndarray, " token"], Float[np.ndarray, " token"], Float[np.ndarray, " token"]]:
    """Of each token, whether probe, control and commonest label are right, where it is tested."""
    from sklearn.base import clone

    hits, chance, common = np.zeros(len(y)), np.zeros(len(y)), np.zeros(len(y))
    for train, test in parts:
        hits[test] = clone(pipeline).fit(x[train], y[train]).predict(x[test]) == y[test]
        blind = clone(pipeline).fit(x[train], shuffled[train])
        chance[test] = blind.predict(x[test]) == y[test]
        names, counts = np.unique(y[train], return_counts=True)
        common[test] = y[test] == names[counts.argmax()]
    return hits, chance, common


def tokens_of(
    runs: Sequence[Run], labels: str | Sequence[Sequence[str]]
) -> tuple[Shaped[np.ndarray, " kept"], Int[np.ndarray, " kept"], Bool[np.ndarray, " token"]]:
    """Every kept token's label and sample, and which of all vision tokens are kept."""
    layouts = [layout for run in runs for layout in run.inputs.layouts]
    if isinstance(labels, str):
        if labels not in PLACES:
            raise InputError(f"labels={labels!r}; there is: {', '.join(PLACES)}, or labels given")
        named = [
            [str(i) if i >= 0 else "" for i in getattr(lay, labels)[lay.mask("vision")]]
            for lay in layouts
        ]
    else:
        named = [list(map(str, own)) for own in labels]
    sizes = [int(lay.mask("vision").sum()) for lay in layouts]
    if [len(own) for own in named] != sizes:
        raise InputError(
            f"labels for {[len(own) for own in named]} tokens; the samples have {sizes} vision "
            "tokens: one label for each, '' to leave it out"
        )
    y = np.array([label for own in named for label in own], dtype=str)
    sample = np.repeat(np.arange(len(layouts)), sizes)
    kept = y != ""
    return y[kept], sample[kept], kept


def units_of(runs: Sequence[Run]) -> list[str]:
    """What each sample of all runs shows; of raw tensors, itself."""
    units: list[str] = []
    for run in runs:
        units += run.inputs.units or [f"row {len(units) + row}" for row in range(len(run.inputs))]
    return units


def _features(runs: Sequence[Run], need: Save, column: int) -> Float[np.ndarray, "token d"]:
    """One layer's activations of all vision tokens of all samples."""
    found = []
    for run in runs:
        x = run.saved.stack(need)[column].float()
        if x.ndim < 3 or x.shape[1] != len(run.inputs.layouts[0]):
            raise InputError(
                f"{need.points} was saved as {shown(x)}: vectors at every position are wanted, "
                "(batch, pos, ...); leave rows= out of need"
            )
        x = x.flatten(2).cpu().numpy()
        found += [x[i][layout.mask("vision")] for i, layout in enumerate(run.inputs.layouts)]
    return np.concatenate(found)


def over_pictures(
    each: xr.DataArray, tokens: float
) -> tuple[Float[np.ndarray, " layer"], Float[np.ndarray, " layer"]]:
    """95 % of each layer's accuracy, over pictures, whose accuracies are of so many tokens each."""
    sums, counts = by_scene(each)
    share = share_interval(sums * tokens, counts * tokens)
    mean = mean_interval(sums, counts)
    low, high = np.fmin(share[1], mean[1]), np.fmax(share[2], mean[2])
    return np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)


def by_sample(hits: Float[np.ndarray, " token"], sample: Int[np.ndarray, " token"]) -> float:
    """The mean of samples' means."""
    return float(np.mean([hits[sample == number].mean() for number in np.unique(sample)]))
