"""Which feature of a dictionary marks which label: chosen on some pictures, measured on others."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float, Int, Shaped
from scipy.stats import rankdata

from vlmlens.annotations import checked
from vlmlens.checks import shown
from vlmlens.draws import together
from vlmlens.errors import InputError
from vlmlens.model import Run
from vlmlens.probes.linear import dealt_out, tokens_of, units_of
from vlmlens.probes.statistics import mean_map

NEEDS = ()


@checked
def marking_features(
    runs: Run | Sequence[Run],
    labels: str | Sequence[Sequence[str]],
    point: str,
    *,
    seed: int = 0,
) -> xr.Dataset:
    """The feature that tells a label's vision tokens from the others, for each label.

    Of a picture and a feature, AUROC is the chance that a token with the label is more active than
    one of the same picture without (ties count half): 1 marks it, 0.5 knows nothing of it. Only
    pictures with both count. The feature is the best one over half of the pictures, and is measured
    on the other half, so that choosing it is not paid for. The control does all of this with the
    labels dealt out anew among the tokens of each picture.

    Args:
        runs: one or more runs (batches) that saved ``point``.
        labels: ``"row"`` or ``"column"``, of the token's patch; or every sample's labels, one for
            each vision token in the order of positions, ``""`` to leave it out.
        point: a point with one number a feature: of a dictionary that is spliced in, or neurons.
        seed: of the halves and the control.

    Returns:
        Over ``label``: ``feature``, its number; ``auroc``, ``auroc_low``, ``auroc_high`` (95 %,
        over pictures), ``control``, ``active``, the share of the label's tokens where the feature
        is above zero, and ``n``, how many pictures were measured. Fractions.

    Raises:
        InputError: labels that do not fit the tokens, or too few pictures of a label to choose and
            to measure.

    Source: Hanley and McNeil 1982, "The meaning and use of the area under a ROC curve"; sparse
    probing after Gurnee et al. 2023, arXiv:2305.01610.

    Examples:
        >>> sae = vl.interop.sae.load("shapes-base")
        >>> point = f"{sae.point}.hook_sae_acts_post"
        >>> with model.splice(sae.point, sae):
        ...     run = model.run(model.inputs(samples), save=point)
        >>> found = vl.probes.marking_features(run, "column", point)
        >>> found.auroc.dims, found.sizes["label"]
        (('label',), 8)
    """
    runs = [runs] if isinstance(runs, Run) else list(runs)
    y, sample, kept = tokens_of(runs, labels)
    x = _acts(runs, point)[kept]
    units = units_of(runs)
    picture = np.unique(together(units, apart=False), return_inverse=True)[1][sample]
    shuffled = dealt_out(y, picture, seed)
    chosen = np.random.default_rng(seed).permutation(picture.max() + 1)[::2]
    names = sorted(set(y.tolist()), key=lambda name: (len(name), name))
    found = [_one(x, y == name, shuffled == name, picture, chosen, name) for name in names]
    return xr.Dataset(
        {key: ("label", [each[key] for each in found]) for key in found[0]},
        {"label": names},
        {
            "interval": "95 %, over pictures",
            "point": point,
            "source": "Hanley and McNeil 1982; arXiv:2305.01610",
            "units": "fraction",
        },
    )


def picture_auroc(
    x: Float[np.ndarray, "token feature"],
    marked: Shaped[np.ndarray, " token"],
    picture: Int[np.ndarray, " token"],
) -> Float[np.ndarray, "picture feature"]:
    """AUROC of every feature within every picture; NaN where a picture has tokens of one kind only.

    Examples:
        >>> from vlmlens.probes.features import picture_auroc
        >>> x, marked = np.array([[3.0], [1.0], [2.0]]), np.array([True, False, True])
        >>> picture_auroc(x, marked, np.zeros(3, int))
        array([[1.]])
    """
    found = np.full((picture.max() + 1, x.shape[1]), np.nan)
    for number in np.unique(picture):
        own = picture == number
        on = marked[own]
        pairs = on.sum() * (~on).sum()
        if pairs:
            ranks = rankdata(x[own], axis=0)[on].sum(0)
            found[number] = (ranks - on.sum() * (on.sum() + 1) / 2) / pairs
    return found


def _one(
    x: Float[np.ndarray, "token feature"],
    marked: Shaped[np.ndarray, " token"],
    shuffled: Shaped[np.ndarray, " token"],
    picture: Int[np.ndarray, " token"],
    chosen: Int[np.ndarray, " chosen"],
    name: str,
) -> dict[str, float | int]:
    """The best feature of one label on the chosen pictures, measured on the others."""
    made = []
    for on in (marked, shuffled):
        each = picture_auroc(x, on, picture)
        here = np.isin(np.arange(len(each)), chosen) & ~np.isnan(each[:, 0])
        there = ~np.isin(np.arange(len(each)), chosen) & ~np.isnan(each[:, 0])
        if not here.any() or there.sum() < 2:
            raise InputError(
                f"the label {name!r} is in {int((here | there).sum())} pictures beside others: one "
                "to choose the feature and two to measure it are the least"
            )
        feature = int(each[here].mean(0).argmax())
        made.append((feature, each[there, feature]))
    (feature, own), (_, control) = made
    interval = mean_map(xr.DataArray(own, dims="sample"))
    measured = marked & ~np.isin(picture, chosen)
    return {
        "feature": feature,
        "auroc": float(interval["mean"]),
        "auroc_low": float(interval["low"]),
        "auroc_high": float(interval["high"]),
        "control": float(control.mean()),
        "active": float((x[measured, feature] > 0).mean()),
        "n": len(own),
    }


def _acts(runs: Sequence[Run], point: str) -> Float[np.ndarray, "token feature"]:
    """Features of every vision token, sample by sample."""
    parts = []
    for run in runs:
        acts = run.saved[point]
        if acts.ndim != 3 or acts.shape[1] != len(run.inputs.layouts[0]):
            raise InputError(f"{point} was saved as {shown(acts)}: (batch, pos, feature) is wanted")
        rows = zip(acts.detach().float().cpu().numpy(), run.inputs.layouts, strict=True)
        parts += [own[layout.mask("vision")] for own, layout in rows]
    return np.concatenate(parts)
