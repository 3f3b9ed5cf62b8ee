"""Values of the image tokens, on the image."""

import base64
from io import BytesIO

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from PIL import Image

from vlmlens.errors import InputError
from vlmlens.plots.arrays import check_dims, entries, title_of
from vlmlens.plots.theme import COLOUR_BAR, SEQUENTIAL, TEMPLATE, plain

LONGEST_SIDE = 800


def overlay(
    image: Image.Image | np.ndarray, values: xr.DataArray, *, title: str | None = None
) -> go.Figure:
    """The picture, and over each cell of the token grid a half-transparent colour.

    The grid is stretched over the whole picture, row 0 at the top: right for processors that
    resize, and off by the cropped margin for those that crop; give those the cropped picture.

    Args:
        image: a picture, or an array (height, width) or (height, width, channel): bytes, or
            floats from 0 to 1.
        values: (row, col); NaN cells show the bare picture.
        title: above the picture.

    Raises:
        InputError: the values are no (row, col) grid, or the array is no picture.
    """
    check_dims(values, "an overlay", ("row", "col"))
    picture = _picture(image)
    grid = values.transpose("row", "col")
    rows, cols = entries(grid, "row"), entries(grid, "col")
    hover = [
        [
            f"row {plain(row)}, col {plain(col)}<br>{grid.values[i, j]:.4g}"
            for j, col in enumerate(cols)
        ]
        for i, row in enumerate(rows)
    ]
    heat = go.Heatmap(
        z=grid.values,
        x0=0.5 / len(cols),
        dx=1 / len(cols),
        y0=0.5 / len(rows),
        dy=1 / len(rows),
        hovertext=hover,
        hoverinfo="text",
        hoverongaps=False,
        opacity=0.6,
        colorscale=SEQUENTIAL,
        colorbar=COLOUR_BAR | {"title": {"text": title_of(values), "side": "right"}},
    )
    fig = go.Figure(heat)
    fig.add_layout_image(
        source=_data_uri(picture),
        x=0,
        y=0,
        sizex=1,
        sizey=1,
        xref="x",
        yref="y",
        sizing="stretch",
        layer="below",
    )
    # The axes run from 0 to 1 across the picture; the true proportions come from scaleratio.
    shape = {"visible": False, "constrain": "domain"}
    fig.update_xaxes(range=[0, 1], **shape)
    fig.update_yaxes(
        range=[1, 0], scaleanchor="x", scaleratio=picture.height / picture.width, **shape
    )
    fig.update_layout(
        template=TEMPLATE,
        title_text=title and plain(title),
        margin_t=48 if title else 16,
        height=440,
    )
    return fig


def _picture(image: Image.Image | np.ndarray) -> Image.Image:
    if isinstance(image, np.ndarray):
        image = Image.fromarray(_bytes(image))
    picture = image.convert("RGB")
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return picture


def _bytes(array: np.ndarray) -> np.ndarray:
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    flat = array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (3, 4))
    if not flat or array.size == 0:
        raise InputError(
            f"an image is (height, width) or (height, width, 3 or 4); this array is {array.shape}"
        )
    if array.dtype == np.uint8:
        return array
    if np.issubdtype(array.dtype, np.floating) and array.min() >= 0 and array.max() <= 1:
        return np.round(array * 255).astype(np.uint8)
    raise InputError(
        f"an image holds bytes, or floats from 0 to 1; this array holds {array.dtype} from "
        f"{array.min()} to {array.max()}"
    )


def _data_uri(picture: Image.Image) -> str:
    buffer = BytesIO()
    picture.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
