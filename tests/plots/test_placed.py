import numpy as np
import pytest
import xarray as xr

from vlmlens import plots
from vlmlens.errors import InputError
from vlmlens.layout import TokenLayout

BOX = np.array([[np.nan] * 4, [0, 0, 10, 20], [10, 0, 20, 20], [np.nan] * 4])
LAYOUT = TokenLayout(
    roles=("bos", "vision", "vision", "user"),
    tokens=("<s>", "i", "i", "left"),
    image=np.array([-1, 0, 0, -1]),
    row=np.array([-1, 0, 0, -1]),
    column=np.array([-1, 0, 1, -1]),
    box=BOX,
)


def test_positions_are_told_what_they_are_and_grids_where_they_lie():
    along = plots.placed(xr.DataArray([1.0, 2.0, 3.0, 4.0], dims="pos"), LAYOUT)
    assert along["token"].values.tolist() == ["<s>", "i", "i", "left"]
    grid = plots.folded(along)
    assert grid.values.tolist() == [[2, 3]]
    assert grid["right"].values.tolist() == [[10, 20]]
    again = plots.placed(xr.DataArray([[2.0, 3.0]], dims=("row", "column")), LAYOUT)
    assert again.identical(grid)


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="the layout has 4"):
        plots.placed(xr.DataArray([1.0], dims="pos"), LAYOUT)
    with pytest.raises(InputError, match=r"image 0, tile 0 has \(1, 2\)"):
        plots.placed(xr.DataArray([[1.0]], dims=("row", "column")), LAYOUT)
    with pytest.raises(InputError, match="row and column"):
        plots.placed(xr.DataArray([1.0], dims="layer"), LAYOUT)
