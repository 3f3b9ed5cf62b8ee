"""What an explorer draws, as JSON and bytes: small enough for a page, exact enough to read."""

import base64
import zlib
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float, Float32, UInt8
from PIL import Image

from vlmlens.errors import InputError
from vlmlens.layout import EDGES, SPANS
from vlmlens.plots.arrays import check_dims, check_variable
from vlmlens.plots.theme import ROLE_COLOURS

DIMS = ("layer", "head", "query", "key")
ALONG_KEY = ("token", "role", "image", "row", "column")
LONGEST_SIDE = 800
STEPS = 255


def check(table: xr.Dataset) -> xr.Dataset:
    """The attention rows in the order of ``DIMS``, once everything that is drawn is there.

    Raises:
        InputError: a dimension or coordinate that is missing, or weights that are no attention.
    """
    check_variable(table, "an explorer", ("attention",))
    check_dims(table["attention"], "an explorer", DIMS)
    missing = [name for name in (*ALONG_KEY, *EDGES) if name not in table.coords]
    if missing:
        raise InputError(
            f"an explorer needs the coordinates {', '.join(missing)} along key: "
            "vlmlens.probes.attention_rows writes them"
        )
    weights = table["attention"]
    if not all(weights.sizes.values()):
        raise InputError(f"there is no attention to explore: {dict(weights.sizes)}")
    if not np.isfinite(weights.values).all() or (weights.values < 0).any():
        raise InputError("attention weights are finite and not negative; some of these are not")
    positions = set(table["key"].values.tolist())
    if strange := [q for q in table["query"].values.tolist() if q not in positions]:
        raise InputError(f"query {strange[0]} is no position: keys are {_span(table['key'])}")
    return table.transpose(*DIMS, ...)


def same_places(tables: Mapping[str, xr.Dataset]) -> None:
    """Raise unless the runs can be laid on one another: same layers, heads, rows and roles.

    Raises:
        InputError: it says in what two runs differ.
    """
    (first, one), *others = tables.items()
    for name, other in others:
        for dim in DIMS:
            if one[dim].values.tolist() != other[dim].values.tolist():
                raise InputError(
                    f"{first!r} and {name!r} cannot be compared: along {dim} one has "
                    f"{_span(one[dim])}, the other {_span(other[dim])}"
                )
        for along in ("role", "image", "row", "column"):
            if one[along].values.tolist() != other[along].values.tolist():
                raise InputError(f"{first!r} and {name!r} differ in the {along} of their positions")


def described(tables: Mapping[str, xr.Dataset], title: str) -> dict[str, Any]:
    """Everything but the weights: positions, boxes and pictures, ready for JSON."""
    one = next(iter(tables.values()))
    box = np.stack([one[edge].values for edge in EDGES], -1)
    box = np.where(np.isfinite(box), box, -1)
    tile = one["tile"].values if "tile" in one.coords else np.where(one["image"].values < 0, -1, 0)
    turn = one["turn"].values if "turn" in one.coords else np.zeros(one.sizes["key"], int)
    kind = one["kind"].values if "kind" in one.coords else np.full(one.sizes["key"], "")
    return {
        "title": title or str(one.attrs.get("question", "")),
        "runs": [
            {
                "name": str(name),
                "question": str(table.attrs.get("question", "")),
                "answer": str(table.attrs.get("answer", "")),
                "tokens": [str(token) for token in table["token"].values],
                "pictures": _pictures(table),
            }
            for name, table in tables.items()
        ],
        "layers": [str(layer) for layer in one["layer"].values],
        "heads": [str(head) for head in one["head"].values],
        "queries": np.searchsorted(one["key"].values, one["query"].values).tolist(),
        "keys": one["key"].values.tolist(),
        "sees": _seen(one["attention"]),
        "colours": ROLE_COLOURS,
        "roles": [str(role) for role in one["role"].values],
        "turn": turn.tolist(),
        "image": one["image"].values.tolist(),
        "tile": tile.tolist(),
        "kind": [str(each) for each in kind],
        "row": one["row"].values.tolist(),
        "column": one["column"].values.tolist(),
        "spans": _spans(one),
        "box": box.round(2).tolist(),
    }


def packed(tables: Mapping[str, xr.Dataset]) -> bytes:
    """The weights of all runs, one byte each, deflated; ``unpacked`` says what they mean.

    In this order: float32 scales (run, query, layer, head), then codes (run, query, layer, head,
    key). Rows of one query lie together, since that is what a reader looks at.
    """
    scales, codes = [], []
    for table in tables.values():
        weights = table["attention"].transpose("query", "layer", "head", "key").values
        scale, code = quantised(weights.astype(np.float32))
        scales.append(scale.astype("<f4").tobytes())
        codes.append(code.tobytes())
    return zlib.compress(b"".join(scales + codes), level=6)


def quantised(
    weights: Float[np.ndarray, "*lead key"],
) -> tuple[Float32[np.ndarray, "*lead"], UInt8[np.ndarray, "*lead key"]]:
    """Every weight as the square root of its share of the row's largest, in 255 steps.

    weight = scale * (code / 255)^2. The root spends its steps where most weights are, near 0. The
    scale is chosen so that the row sums to what it summed to: shares of attention stay shares. A
    weight that comes back is within 1 % of the row's largest.
    """
    peak = weights.max(-1, keepdims=True)
    share = weights / np.where(peak > 0, peak, 1)
    code = np.round(STEPS * np.sqrt(share)).astype(np.uint8)
    kept = np.square(code / np.float32(STEPS)).sum(-1)
    scale = weights.sum(-1) / np.where(kept > 0, kept, 1)
    return scale.astype(np.float32), code


def unpacked(data: bytes, runs: int, table: xr.Dataset) -> Float32[np.ndarray, "..."]:
    """What ``packed`` wrote, as (run, query, layer, head, key): the page's own arithmetic."""
    raw = zlib.decompress(data)
    lead = (runs, *(table.sizes[dim] for dim in ("query", "layer", "head")))
    rows = int(np.prod(lead))
    scales = np.frombuffer(raw, "<f4", rows).reshape(lead)
    codes = np.frombuffer(raw, np.uint8, offset=4 * rows).reshape(*lead, table.sizes["key"])
    return (scales[..., None] * (codes / np.float32(STEPS)) ** 2).astype(np.float32)


def _spans(one: xr.Dataset) -> list[list[int]]:
    """Rows and columns of every position's grid; 0 where the table does not say."""
    none = np.zeros(one.sizes["key"], int)
    return np.stack([one[n].values if n in one.coords else none for n in SPANS], -1).tolist()


def _seen(attention: xr.DataArray) -> list[int]:
    """How far along the keys each query can see: one more than its last key with any weight.

    For a causal model that is its own position; within an image, or a prefix, it may be more.
    """
    reached = (attention > 0).any(("layer", "head")).transpose("query", "key").values
    return (attention.sizes["key"] - reached[:, ::-1].argmax(1)).tolist()


def _pictures(table: xr.Dataset) -> list[dict[str, Any]]:
    """The images in their order, made smaller where they are large; sizes are the originals'."""
    found = []
    while (name := f"picture_{len(found)}") in table:
        picture = Image.fromarray(table[name].values.astype(np.uint8)).convert("RGB")
        width, height = picture.size
        picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
        found.append({"width": width, "height": height, "source": _data_uri(picture)})
    return found


def _data_uri(picture: Image.Image) -> str:
    """PNG where that is small, as for drawings; JPEG for photographs."""
    written = {}
    for kind, options in (("png", {"optimize": True}), ("jpeg", {"quality": 88})):
        buffer = BytesIO()
        picture.save(buffer, format=kind, **options)
        written[kind] = buffer.getvalue()
    kind = "png" if len(written["png"]) <= 2 * len(written["jpeg"]) else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(written[kind]).decode()}"


def _span(labels: xr.DataArray) -> str:
    values = labels.values
    return f"{len(values)} from {values[0]} to {values[-1]}" if len(values) else "none"
