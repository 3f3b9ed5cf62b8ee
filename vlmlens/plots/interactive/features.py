"""Many features of a dictionary on one page: an index that sorts, and a section for each."""

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from vlmlens.annotations import checked
from vlmlens.checks import path as as_path
from vlmlens.checks import shown
from vlmlens.errors import InputError
from vlmlens.picture import at_home
from vlmlens.plots.crops import around
from vlmlens.sample import Sample

#: Pixels of a crop's side, and of a histogram.
SIDE, WIDE, HIGH = 96, 260.0, 78.0
#: The largest page that is written: larger ones open slowly.
MOST_BYTES = 60_000_000
#: Tokens that the index names of what a feature raises.
NAMED = 3
COLUMNS = (
    ("feature", "number"), ("active at", "number"), ("most", "number"), ("marks", "text"),
    ("AUROC", "number"), ("raises", "text"),
)  # fmt: skip


@checked
def write_features(
    path: Path | str,
    samples: Sequence[Sample],
    regions: Sequence[xr.Dataset],
    *,
    words: Sequence[xr.Dataset] = (),
    writes: Sequence[xr.Dataset] = (),
    marks: xr.Dataset | None = None,
    title: str | None = None,
) -> Path:
    """Many features on one page: where each is most active, and an index that sorts.

    The index says of every feature how often it is active, its highest activation, the label that
    it marks best with the AUROC, and the tokens that it raises. The page holds everything it needs
    and may load nothing else.

    Args:
        path: of the page; a page already there is replaced.
        samples: those that were run, in order.
        regions: one for each feature, from ``probes.most_active(..., positions="vision")``, in the
            order in which they are to stand.
        words: the same among words, one for each feature; or none.
        writes: from ``probes.direction_words``, one for each feature; or none.
        marks: from ``probes.marking_features``, of the same point.
        title: by default the point.

    Returns:
        The path.

    Raises:
        InputError: regions of several points, twice of one feature, without boxes, or of samples
            that are not here; not one of ``words`` or ``writes`` each; a page that is too large.
        ImageError: a picture cannot be read.

    Examples:
        >>> sae = vl.interop.sae.load("shapes-base")
        >>> point = f"{sae.point}.hook_sae_acts_post"
        >>> with model.splice(sae.point, sae):
        ...     run = model.run(model.inputs(samples), save=point)
        >>> regions = [vl.probes.most_active(run, point, at) for at in (3, 165)]
        >>> writes = [vl.probes.direction_words(model, sae.W_dec[at], 4) for at in (3, 165)]
        >>> vl.plots.write_features("features.html", samples, regions, writes=writes).name
        'features.html'
    """
    place = at_home(as_path(path, "path"))
    if place.is_dir():
        raise InputError(
            f"the page is one file, but {place} is a folder: name a file, ending .html"
        )
    point = _refuse(regions, {"words": words, "writes": writes}, marks)
    crops = _crops(samples, regions)
    pieces = [
        _section(
            table,
            crops[at],
            words[at] if words else None,
            writes[at] if writes else None,
            _best(marks, int(table.attrs["feature"])),
        )
        for at, table in enumerate(regions)
    ]
    environment = Environment(
        loader=PackageLoader("vlmlens.plots", "interactive"),
        autoescape=True,
        undefined=StrictUndefined,
    )
    text = environment.get_template("features.html").render(
        title=point if title is None else title,
        columns=COLUMNS,
        shown=pieces,
        tokens=f"{int(regions[0]['n']):,}",
    )
    if len(text) > MOST_BYTES:
        raise InputError(
            f"{len(regions)} features make a page of {len(text) / 1e6:.0f} MB, and browsers take "
            f"{MOST_BYTES / 1e6:.0f}: write several pages, or fewer regions of each"
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, encoding="utf-8")
    return place


def _refuse(
    regions: Sequence[xr.Dataset],
    others: Mapping[str, Sequence[xr.Dataset]],
    marks: xr.Dataset | None,
) -> str:
    """The point that all of it is of.

    Raises:
        InputError: says what does not go together.
    """
    wrong = [t for t in regions if not isinstance(t, xr.Dataset) or "feature" not in t.attrs]
    if wrong or not len(regions):
        raise InputError(
            f"regions={shown(wrong[0] if wrong else regions)}: a list of what probes.most_active "
            "gives, one for each feature, is wanted"
        )
    points = {str(table.attrs["point"]) for table in regions}
    if marks is not None:
        points.add(str(marks.attrs.get("point")))
    if len(points) > 1:
        raise InputError(f"features of {' and of '.join(sorted(points))}: one page for each")
    numbers = [int(table.attrs["feature"]) for table in regions]
    if twice := {number for number in numbers if numbers.count(number) > 1}:
        raise InputError(f"feature {min(twice)} is there twice")
    for name, given in others.items():
        if len(given) not in (0, len(regions)):
            raise InputError(f"{len(given)} {name} and {len(regions)} features: one each, or none")
    return points.pop()


def _crops(samples: Sequence[Sample], regions: Sequence[xr.Dataset]) -> list[list[dict[str, Any]]]:
    """Every feature's crops; each picture is read once, and none is kept."""
    found = [[{} for _ in range(table.sizes["rank"])] for table in regions]
    places = [
        (int(table["sample"][rank]), at, rank)
        for at, table in enumerate(regions)
        for rank in range(table.sizes["rank"])
    ]
    for number, at, rank in sorted(places):
        one = regions[at].isel(rank=rank)
        crop, (left, top, right, bottom) = around(samples, one, SIDE)
        found[at][rank] = {
            "uri": _uri(crop),
            "sample": number,
            "left": round(left, 1),
            "top": round(top, 1),
            "width": round(right - left, 1),
            "height": round(bottom - top, 1),
            "said": f"{float(one['activation']):.3g}, sample {number}",
        }
    return found


def _section(
    table: xr.Dataset,
    crops: Sequence[Mapping[str, Any]],
    words: xr.Dataset | None,
    writes: xr.Dataset | None,
    best: tuple[str, float, str] | None,
) -> dict[str, Any]:
    """What is shown of one feature."""
    number, share = int(table.attrs["feature"]), float(table["density"])
    top = float(table["activation"].max()) if table.sizes["rank"] else 0.0
    raised = [] if writes is None else [_word(each).strip() for each in writes["raised"].values]
    label, auroc, said = best or ("", None, "")
    lists = []
    if words is not None and words.sizes["rank"]:
        rows = zip(words["activation"].values, words["token"].values, strict=True)
        lists.append(("words", [_line(value, word) for value, word in rows]))
    if writes is not None:
        for heading, value, name in (
            ("raises", "raises", "raised"),
            ("lowers", "lowers", "lowered"),
        ):
            rows = zip(writes[value].values, writes[name].values, strict=True)
            lists.append((f"{heading}, in logits", [_line(v, w, bool(v < 0)) for v, w in rows]))
    return {
        "number": number,
        "cells": [
            _cell(number, str(number)),
            _cell(share, f"{share:.2%}"),
            _cell(top, f"{top:.3g}"),
            {"kind": "text", "value": label, "text": label},
            _cell(auroc, "" if auroc is None else f"{auroc:.2f}"),
            {"kind": "text", "value": " ".join(raised[:NAMED]), "text": " ".join(raised[:NAMED])},
        ],
        "said": f"active at {share:.2%} of {int(table['n']):,} tokens{said}",
        "crops": crops,
        "bars": _bars(table),
        "ends": [f"{edge:.3g}" for edge in _edges(table)],
        "lists": lists,
    }


def _best(marks: xr.Dataset | None, number: int) -> tuple[str, float, str] | None:
    """The label that a feature marks best, with its AUROC."""
    if marks is None or not (own := np.flatnonzero(marks["feature"].values == number)).size:
        return None
    at = int(own[marks["auroc"].values[own].argmax()])
    one = marks.isel(label=at)
    label, auroc = str(one["label"].item()), float(one["auroc"])
    low, high = float(one["auroc_low"]), float(one["auroc_high"])
    said = f"; marks {label}: AUROC {auroc:.2f} [{low:.2f}, {high:.2f}]"
    return label, auroc, f"{said}, shuffled {float(one['control']):.2f}"


def _edges(table: xr.Dataset) -> tuple[float, float]:
    above = table["above"].values
    return float(above[0]), float(2 * above[-1] - above[-2])


def _bars(table: xr.Dataset) -> list[dict[str, Any]]:
    """The histogram, on a log scale; nothing of a feature that is never active."""
    counts, above = table["tokens"].values, table["above"].values
    if not counts.any():
        return []
    heights = np.log1p(counts) / np.log1p(counts.max()) * HIGH
    wide = WIDE / len(counts)
    return [
        {
            "x": round(at * wide, 1),
            "y": round(HIGH - height, 1),
            "width": round(wide - 1, 1),
            "height": round(height, 1),
            "said": f"from {above[at]:.3g}: {int(counts[at]):,} tokens",
        }
        for at, height in enumerate(heights)
    ]


def _cell(value: int | float | None, text: str) -> dict[str, Any]:
    return {"kind": "number", "value": "" if value is None else f"{value:.6g}", "text": text}


def _line(value: float, word: Any, low: bool = False) -> dict[str, Any]:
    return {"value": f"{float(value):.3g}", "word": _word(word), "low": low}


def _word(token: Any) -> str:
    """A token with its line ends and the like written out."""
    return repr(str(token))[1:-1]


def _uri(crop: Image.Image) -> str:
    buffer = BytesIO()
    crop.save(buffer, format="JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
