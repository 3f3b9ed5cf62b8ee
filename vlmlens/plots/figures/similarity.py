"""How alike every vision token is to a chosen one, on the image."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from vlmlens.errors import InputError
from vlmlens.picture import Picture, open_picture
from vlmlens.plots.arrays import check_dims
from vlmlens.plots.figures.overlay import overlay
from vlmlens.plots.picture import edges, within_picture
from vlmlens.plots.theme import veiled_around


def similarity(
    image: Picture,
    values: xr.DataArray,
    *,
    of: tuple[int, int] | None = None,
    title: str | None = None,
) -> go.Figure:
    """The picture, coloured by cosine similarity around 0, and a frame around the chosen token.

    Args:
        image: as in ``overlay``.
        values: (row, column), cosines from -1 to 1.
        of: row and column of the token that the others are compared with; None where it is no
            token of this image, such as a word.
        title: above the picture.

    Raises:
        InputError: values that are no cosines, or a chosen token outside the grid.

    Examples:
        >>> run = model.run(model.inputs([sample]), save=vl.probes.similarity.NEEDS)
        >>> found = vl.probes.similarity_map(run, to=(3, 4)).isel(sample=0)
        >>> fig = vl.plots.similarity(sample.images[0], found, of=(3, 4))
        >>> fig.data[0].z.shape
        (8, 8)
    """
    check_dims(values, "a similarity map", ("row", "column"))
    if np.nanmax(np.abs(values.values)) > 1 + 1e-4:
        raise InputError(
            f"cosines lie between -1 and 1; these go from {float(values.min()):.3g} to "
            f"{float(values.max()):.3g}"
        )
    named = values.assign_attrs(long_name=values.attrs.get("long_name", "cosine similarity"))
    fig = overlay(image, named, title=title, midpoint=0.0)
    fig.update_traces(zmin=-1, zmax=1, colorscale=veiled_around(-1.0, 1.0, 0.0))
    if of is None:
        return fig
    row, column = of
    if not (0 <= row < values.sizes["row"] and 0 <= column < values.sizes["column"]):
        raise InputError(f"of={of}: the grid is {values.sizes['row']} x {values.sizes['column']}")
    grid = within_picture(values.transpose("row", "column", ...))
    x, y = edges(grid, *open_picture(image).size)
    frame = {"x0": x[column], "x1": x[column + 1], "y0": y[row], "y1": y[row + 1]}
    for colour, width in (("#ffffff", 5), ("#000000", 2.5)):  # seen on light and on dark
        fig.add_shape(type="rect", line={"color": colour, "width": width}, **frame)
    return fig
