"""The explorer as a picture that nothing has to draw: for viewers that run no scripts."""

from io import BytesIO
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from plotly.colors import sample_colorscale

from vlmlens.palette import ROLE_COLOURS
from vlmlens.plots.picture import grid_size
from vlmlens.plots.theme import EMPTY, INK, MUTED, SEQUENTIAL

#: Pixels: of the whole, around it, of the picture's longer side, of a line of words.
WIDTH, MARGIN, SIDE, LINE = 960, 20, 340, 22
#: Cells of a map of heads are no larger than this, and no more than these fit.
CELL, MAP = 28, 400
SIZE, SMALL = 15, 12


def still(table: xr.Dataset, chosen: Any, title: str) -> bytes:
    """One row of attention on the picture and in the words, and the map of heads, as a PNG.

    Args:
        table: checked attention rows.
        chosen: what is looked at: ``layer``, ``head`` and ``position``, as a selection has them.
        title: above it.

    Returns:
        A picture of 960 pixels in width, 8 bits a channel.
    """
    rows = table["attention"].sel(query=_query(table, chosen.position))
    mean = chosen.layer is None
    row = rows.mean(("layer", "head")) if mean else rows.sel(layer=chosen.layer, head=chosen.head)
    weights = row.values
    sheet = _Sheet()
    word = str(table["token"].sel(key=int(rows["query"])).values)
    of = "mean of all heads" if mean else f"layer {chosen.layer}, head {chosen.head}"
    sheet.text(title or "attention", SIZE)
    sheet.text(f"what {word.strip() or word!r} reads, {of}; a picture of an explorer", SMALL, MUTED)
    below = sheet.at
    shown = _on_picture(table, weights)
    if shown is not None:
        sheet.paste(shown, MARGIN)
    image = table["image"].values >= 0
    words = np.arange(len(image)) > 0
    words[int(np.flatnonzero(table["key"].values == int(rows["query"]))[0])] = False
    heads = rows.values[..., image if image.any() else words].sum(-1)
    told = f"attention to {'the image' if image.any() else 'other words than the first'}, by head"
    left = MARGIN if shown is None else 2 * MARGIN + SIDE
    sheet.map(heads, told, left, below)
    sheet.words(table, weights)
    return sheet.png()


def _query(table: xr.Dataset, position: int | None) -> int:
    """The row that is shown: the chosen position's, or the last."""
    every = table["query"].values.tolist()
    return position if position is not None and position in every else every[-1]


def _shades(values: Float[np.ndarray, " n"]) -> list[str]:
    """Colours from nothing to the largest of these values."""
    top = float(values.max()) if values.size else 0.0
    share = values / top if top > 0 else values
    return [str(shade) for shade in sample_colorscale(SEQUENTIAL, share.tolist())]


def _on_picture(table: xr.Dataset, weights: Float[np.ndarray, " key"]) -> Image.Image | None:
    """The first picture, or its bare grid, with what the row gives to each of its cells."""
    here = np.flatnonzero(table["image"].values == 0)
    if not len(here):
        return None
    box = np.stack([table[edge].values[here] for edge in ("left", "top", "right", "bottom")], -1)
    if "picture_0" in table and np.isfinite(box).all():
        picture = Image.fromarray(np.asarray(table["picture_0"].values, np.uint8)).convert("RGB")
    else:
        row, column = table["row"].values[here], table["column"].values[here]
        box = np.stack([column, row, column + 1, row + 1], -1).astype(float)
        rows, columns = grid_size(table, here)
        picture = Image.new("RGB", (columns, rows), EMPTY)
    scale = SIDE / max(picture.size)
    picture = picture.resize([max(1, round(side * scale)) for side in picture.size])
    veil = Image.new("RGBA", picture.size)
    pen = ImageDraw.Draw(veil)
    for edges, shade in zip(box * scale, _shades(weights[here]), strict=True):
        pen.rectangle([round(x) for x in edges], (*_rgb(shade), 150))
    return Image.alpha_composite(picture.convert("RGBA"), veil).convert("RGB")


def _rgb(shade: str) -> tuple[int, ...]:
    return tuple(round(float(part)) for part in shade[4:-1].split(","))


class _Sheet:
    """A white sheet that is filled from top to bottom, and cut where it ends."""

    def __init__(self) -> None:
        self.image = Image.new("RGB", (WIDTH, 4000), "white")
        self.pen = ImageDraw.Draw(self.image)
        self.at = MARGIN
        self.floor = 0

    def text(self, said: str, size: int, ink: str = INK, left: int = MARGIN) -> None:
        """A line, cut where the sheet ends."""
        font = ImageFont.load_default(size)
        while said and self.pen.textlength(said, font) > WIDTH - MARGIN - left:
            said = said.rstrip("…")[:-1] + "…"
        self.pen.text((left, self.at), said, ink, font)
        self.at += size + 8

    def paste(self, picture: Image.Image, left: int) -> None:
        self.image.paste(picture, (left, self.at))
        self.floor = self.at + picture.height

    def map(self, heads: Float[np.ndarray, "layer head"], told: str, left: int, top: int) -> None:
        """A cell for every head: layers down, heads across."""
        self.at = top
        self.text(f"{told}: 0 to {heads.max():.2f}", SMALL, MUTED, left)
        side = max(2, min(CELL, MAP // max(heads.shape)))
        shades = _shades(heads.ravel())
        for number, shade in enumerate(shades):
            layer, head = divmod(number, heads.shape[1])
            x, y = left + head * side, self.at + layer * side
            self.pen.rectangle([x, y, x + side - 1, y + side - 1], _rgb(shade), "white")
        self.at = max(self.floor, self.at + side * len(heads)) + MARGIN

    def words(self, table: xr.Dataset, weights: Float[np.ndarray, " key"]) -> None:
        """The words, as dark as the row reads them; patches are on the picture."""
        asked = np.flatnonzero(table["image"].values < 0)
        shades = _shades(weights[asked])
        font, left = ImageFont.load_default(SMALL), MARGIN
        for key, shade in zip(asked, shades, strict=True):
            word = str(table["token"].values[key]).strip() or "␣"
            width = self.pen.textlength(word, font) + 10
            if left + width > WIDTH - MARGIN:
                left, self.at = MARGIN, self.at + LINE + 4
            if self.at > self.image.height - 3 * LINE:
                break
            fill = _rgb(shade)
            ink = "white" if sum(fill) < 380 else INK
            self.pen.rectangle([left, self.at, left + width - 2, self.at + LINE - 4], fill)
            self.pen.text((left + 5, self.at + 2), word, ink, font)
            role = ROLE_COLOURS.get(str(table["role"].values[key]), EMPTY)
            under = [left, self.at + LINE - 3, left + width - 2, self.at + LINE - 1]
            self.pen.rectangle(under, role)
            left += width + 2
        self.at += LINE + MARGIN

    def png(self) -> bytes:
        kept = BytesIO()
        self.image.crop((0, 0, WIDTH, self.at)).save(kept, "PNG", optimize=True)
        return kept.getvalue()
