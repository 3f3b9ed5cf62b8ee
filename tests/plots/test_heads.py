import numpy as np
import pytest
import xarray as xr

from vlmlens import plots
from vlmlens.errors import InputError
from vlmlens.plots.arrays import mean_interval

GRID = xr.DataArray(
    [[0.1, 0.2, 0.3], [0.4, 0.5, np.nan]],
    dims=("layer", "head"),
    coords={"layer": [4, 9]},
    name="cmb",
    attrs={"long_name": "balance", "units": "fraction"},
)


def test_a_cell_is_where_its_layer_and_head_are():
    (heat,) = plots.heads(GRID).data
    np.testing.assert_array_equal(heat.z, GRID)
    assert heat.hovertext[1][0] == "layer 9, head 0<br>mean 0.4"
    assert heat.colorbar.title.text == "balance [fraction]"


def test_the_order_of_dimensions_does_not_matter():
    (heat,) = plots.heads(GRID.transpose("head", "layer")).data
    np.testing.assert_array_equal(heat.z, GRID)


def test_axes_name_layers_and_heads():
    layout = plots.heads(GRID, title="A <title>").layout
    assert layout.yaxis.ticktext == ("4", "9")
    assert layout.xaxis.ticktext == ("0", "1", "2")
    assert layout.yaxis.autorange is None  # upwards: layer 0 at the bottom
    assert "0 is nearest the input" in layout.yaxis.title.text
    assert layout.title.text == "A &lt;title&gt;"


def test_samples_are_averaged_and_their_spread_is_told():
    values = xr.DataArray(
        np.array([0.0, 1.0, 1.0, 1.0])[:, None, None], dims=("sample", "layer", "head")
    )
    (heat,) = plots.heads(values).data
    row = mean_interval(values)
    low, high = row["low"].item(), row["high"].item()
    assert heat.z == 0.75
    assert heat.hovertext[0][0] == (
        f"layer 0, head 0<br>mean 0.75<br>95 % interval [{low:.4g}, {high:.4g}]<br>n = 4"
    )


def test_the_midpoint_is_on_the_scale_and_nothing_lies_beyond_the_values():
    (heat,) = plots.heads(GRID, midpoint=1.0).data
    assert (heat.zmin, heat.zmax) == (0.1, 1)
    (heat,) = plots.heads(GRID * np.nan, midpoint=1.0).data
    assert heat.zmin is None


@pytest.mark.parametrize(
    ("dims", "said"),
    [
        (("layer", "depth"), "needs layer, head.*these values have"),
        (("sample", "layer", "head", "step"), "step"),
    ],
)
def test_other_dimensions_are_refused_by_name(dims, said):
    with pytest.raises(InputError, match=said):
        plots.heads(xr.DataArray(np.zeros((2,) * len(dims)), dims=dims))
