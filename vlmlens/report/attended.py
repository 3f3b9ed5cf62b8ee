"""Where the model looked: attention on the pictures of its best and its worst answers."""

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from PIL import Image
from plotly.colors import sample_colorscale

from vlmlens.annotations import checked
from vlmlens.errors import InputError
from vlmlens.layout import SIZE
from vlmlens.plots.picture import edges, within_picture
from vlmlens.plots.theme import SEQUENTIAL
from vlmlens.report.answered import word
from vlmlens.report.thumbnails import Thumbnail

#: Answers of each kind whose pictures are shown.
EACH = 3
#: How much of the picture the strongest attention hides.
THICKEST = 0.85


@checked
def extremes(results: xr.Dataset, each: int = EACH) -> tuple[list[str], list[str]]:
    """The names of the samples that were answered best and worst, vision tokens in order.

    Worst are those that are wrong, and of them those whose right answer has the lowest log
    probability; best are those that are right, and of them the likeliest. Samples that nobody
    graded are neither.

    Args:
        results: with ``correct`` and perhaps ``log_prob`` over (sample, permutation).
        each: how many of each; half of the samples where there are fewer than twice as many.

    Returns:
        The best, best first; and the worst, worst first.

    Examples:
        >>> import xarray as xr
        >>> graded = xr.Dataset({"correct": (("sample", "permutation"), [[1.0], [0.0], [1.0]])})
        >>> graded = graded.assign_coords(sample=["a", "b", "c"], permutation=["original"])
        >>> vl.report.extremes(graded)
        (['a'], ['b'])
    """
    if "correct" not in results or "sample" not in results["correct"].dims:
        return [], []
    right, likely = (_in_order(results, name) for name in ("correct", "log_prob"))
    known = np.flatnonzero(np.isfinite(right))
    order = known[np.lexsort((known, -np.nan_to_num(likely[known], nan=-np.inf), -right[known]))]
    names = [word(name) for name in results["sample"].values.tolist()]
    few = min(each, len(order) // 2)
    best = [at for at in order[:few].tolist() if right[at] > 0]
    worst = [at for at in order[::-1][:few].tolist() if right[at] < 1]
    return [names[at] for at in best], [names[at] for at in worst]


def looked(
    attention: xr.Dataset | None,
    results: xr.Dataset,
    pictures: Mapping[str, Sequence[Thumbnail]] | None,
) -> list[dict[str, Any]]:
    """Cards of the best and the worst, each with the attention of a few layers on its picture.

    Args:
        attention: ``attention`` over (sample, layer, row, column), with boxes.
        results: with each sample's question and answer.
        pictures: the samples'.

    Returns:
        A card for each sample that has a picture; ``heats`` is empty where the table does not say
        where on the picture its tokens lie.
    """
    if attention is None or not pictures or "answer" not in results:
        return []
    best, worst = extremes(results)
    names = [word(name) for name in results["sample"].values.tolist()]
    maps = [word(name) for name in attention["sample"].values.tolist()]
    found = []
    for kind, chosen in (("best", best), ("worst", worst)):
        for name in chosen:
            if name not in maps or not pictures.get(name):
                continue
            own = attention["attention"].isel(sample=maps.index(name))
            heats = _heats(own.mean("layer"), own)
            one = results.isel(sample=names.index(name))
            found.append(_card(one, name, kind, pictures[name][0], heats))
    return found


def _card(
    one: xr.Dataset, name: str, kind: str, picture: Thumbnail, heats: list[dict[str, Any]]
) -> dict[str, Any]:
    told = {
        field: word(one[field].item()) if field in one.coords or field in one else ""
        for field in ("question", "gold")
    }
    right = float(np.atleast_1d(one["correct"].values)[0])
    said = word(np.atleast_1d(one["answer"].values).tolist()[0])
    return told | {
        "sample": name,
        "kind": kind,
        "said": {"text": said, "right": right},
        "picture": picture,
        "heats": heats,
    }


def _heats(mean: xr.DataArray, layers: xr.DataArray) -> list[dict[str, Any]]:
    """The mean over layers, and the layer that looks the most at one place."""
    width, height = (int(layers[side]) if side in layers.coords else 1000 for side in SIZE)
    peaks = layers.max(("row", "column")) / layers.sum(("row", "column"))
    chosen = [("mean of all layers", mean)]
    if layers.sizes["layer"] > 1 and bool(peaks.notnull().any()):
        at = int(np.nanargmax(peaks.values))
        chosen.append((f"layer {layers['layer'].values[at]}, the sharpest", layers.isel(layer=at)))
    found = []
    for title, each in chosen:
        grid = within_picture(each.transpose("row", "column"))
        try:
            x, y = edges(grid, width, height)
        except InputError:  # it does not say where on the picture it lies
            return []
        left, top = 100 * x[0] / width, 100 * y[0] / height
        part = left, top, 100 * x[-1] / width - left, 100 * y[-1] / height - top
        found.append({"title": title, "url": _url(grid.values.astype(float)), "part": part})
    return found


def _url(cells: Float[np.ndarray, "row column"]) -> str:
    """One pixel for each cell: its colour and how much it hides follow the attention."""
    top = float(np.nanmax(cells)) if np.isfinite(cells).any() else 0.0
    share = np.nan_to_num(cells / top if top > 0 else 0 * cells)
    scale = sample_colorscale(SEQUENTIAL, share.ravel().tolist(), colortype="tuple")
    colours = 255 * np.array(scale).reshape(*share.shape, 3)
    pixels = np.dstack([colours, 255 * THICKEST * share]).round().astype(np.uint8)
    data = BytesIO()
    Image.fromarray(pixels, "RGBA").save(data, "PNG")
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"


def _in_order(results: xr.Dataset, name: str) -> Float[np.ndarray, " sample"]:
    """A measure of every sample, vision tokens in order; NaN where it is not there."""
    if name not in results:
        return np.full(results.sizes["sample"], np.nan)
    values = results[name]
    if "permutation" in values.dims:
        values = values.isel(permutation=0)
    return values.values.astype(float)
