"""What every position is and where it looks, written beside values that do not say."""

import numpy as np
import xarray as xr

from vlmlens.errors import InputError
from vlmlens.layout import EDGES, SIZE, TokenLayout
from vlmlens.plots.arrays import check_labelled
from vlmlens.roles import COUNTED


def placed(
    values: xr.DataArray, layout: TokenLayout, *, image: int = 0, tile: int = 0
) -> xr.DataArray:
    """The same values with the coordinates that figures on images and tokens read.

    Along ``pos`` or ``key``: ``token``, ``role``, ``turn``, ``image``, ``tile``, ``row``,
    ``column``, how many of these the grid has, and the patch's ``left``, ``top``, ``right``,
    ``bottom`` in pixels of the original.
    On (``row``, ``column``): those four edges and the original's size, where it is known.

    Args:
        values: of one sample, along ``pos`` or ``key``, or on the grid of one image.
        layout: that sample's, ``run.inputs.layouts[sample]``.
        image: which image the grid is of.
        tile: which of its tiles.

    Raises:
        InputError: values that do not fit the layout.

    Examples:
        >>> import xarray as xr
        >>> layout = model.inputs([sample]).layouts[0]
        >>> values = xr.DataArray(np.zeros((8, 8)), dims=("row", "column"))
        >>> vl.plots.placed(values, layout).right.values[0].tolist()  # 8 patches of 28 pixels
        [28.0, 56.0, 84.0, 112.0, 140.0, 168.0, 196.0, 224.0]
    """
    check_labelled(values, "placed", (xr.DataArray,))
    along = next((dim for dim in ("pos", "key") if dim in values.dims), None)
    if along is not None:
        if values.sizes[along] != len(layout):
            raise InputError(
                f"{values.sizes[along]} values along {along}, but the layout has {len(layout)} "
                "positions: pass the layout of the same run"
            )
        words = {"token": list(layout.tokens), "role": list(layout.roles)}
        out = layout.mask("pad")  # padding, and what an edit took out: nothing is drawn of it
        numbers = {name: np.where(out, -1, getattr(layout, name)) for name in COUNTED}
        numbers |= layout.spans()
        edges = {edge: np.where(out, np.nan, layout.box[:, at]) for at, edge in enumerate(EDGES)}
        every = words | numbers | edges
        return values.assign_coords({name: (along, each) for name, each in every.items()})
    if not {"row", "column"} <= set(values.dims):
        raise InputError(f"values lie along pos, key, or row and column; these have {values.dims}")
    _refuse_other_tiles(values, tile)
    grid = values.sizes["row"], values.sizes["column"]
    here = layout.vision(image, tile)
    shape = layout.grid(image, tile) if len(here) else (0, 0)
    if grid != shape:
        raise InputError(f"values on {grid} cells, but image {image}, tile {tile} has {shape}")
    if len(here) != grid[0] * grid[1]:
        raise InputError(
            f"tile {tile} of image {image} has {len(here)} tokens on {grid[0]} x {grid[1]} places: "
            "where the others look is not known. Pass the layout of inputs that keep all of them"
        )
    box = np.full((*grid, 4), np.nan)
    box[layout.row[here], layout.column[here]] = layout.box[here]
    if np.isnan(box).any():
        return values
    edges = {edge: (("row", "column"), box[..., at]) for at, edge in enumerate(EDGES)}
    size = layout.sizes[image] if image < len(layout.sizes) else None
    sizes = {} if size is None else dict(zip(SIZE, size, strict=True))
    return values.assign_coords(edges | sizes)


def _refuse_other_tiles(values: xr.DataArray, tile: int) -> None:
    """Refuse a sweep's cells that are of another tile, or of several together."""
    own = values.coords.get("tile")
    if own is not None and own.ndim == 0 and int(own) != tile:
        raise InputError(f"these values are of tile {int(own)}: say tile={int(own)}")
    together = values.coords.get("tiles")
    if together is not None and (together.values > 1).any():
        raise InputError(
            f"each of these values is of one cell in {int(together.max())} tiles together, which "
            "look at several places: sweep(..., over=('tile', 'cell')) keeps them apart"
        )
