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
    fig = plots.heads(GRID)
    (heat,) = fig.data
    np.testing.assert_array_equal(heat.z, GRID)
    assert heat.hovertext[1][0] == "layer 9, head 0<br>mean 0.4"
    assert fig.layout.coloraxis.colorbar.title.text == "balance [fraction]"


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
        f"layer 0, head 0<br>mean 0.75<br>95 % interval [{low:.4g}, {high:.4g}]<br>n = 4 samples"
    )


def test_the_midpoint_is_on_the_scale_and_nothing_lies_beyond_the_values():
    scale = plots.heads(GRID, midpoint=1.0).layout.coloraxis
    assert (scale.cmin, scale.cmax) == (0.1, 1)
    assert plots.heads(GRID * np.nan, midpoint=1.0).layout.coloraxis.cmin is None


def test_a_table_of_tests_is_drawn_with_its_corrected_p():
    """Cells that pass the test for the whole map carry a dot."""
    low, high, p = GRID - 0.05, GRID + 0.05, GRID.copy(data=[[0.2, 0.01, 1.0], [0.04, 0.05, 1.0]])
    table = xr.Dataset({"mean": GRID, "low": low, "high": high, "p_corrected": p})
    heat, dots = plots.heads(table.assign_attrs(correction="max")).data
    assert heat.hovertext[0][1] == (
        "layer 4, head 1<br>mean 0.2<br>95 % interval [0.15, 0.25]<br>p, corrected (max): 0.01"
    )
    assert list(zip(dots.y, dots.x, strict=True)) == [(0, 1), (1, 0)]


def test_several_models_share_one_scale():
    both = xr.concat([GRID, GRID * 2], "model").assign_coords(model=["a", "<b>"])
    fig = plots.heads(both, by="model")
    assert [heat.coloraxis for heat in fig.data] == ["coloraxis"] * 2
    np.testing.assert_array_equal(fig.data[1].z, 2 * GRID)
    assert [each.text for each in fig.layout.annotations] == ["a", "&lt;b&gt;"]


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


def test_a_map_knows_its_middle():
    """It is the one given, else the values' own, else what was tested, else 0 between signs."""

    def ends(values, **how):
        scale = plots.heads(values, **how).layout.coloraxis
        return scale.cmin, scale.cmax

    signed = GRID - 0.3
    assert ends(signed) == pytest.approx((-0.2, 0.2))  # 0 lies within
    assert ends(GRID) == (None, None) == ends(signed, midpoint=np.nan)
    assert ends(GRID.assign_attrs(midpoint=0.5)) == (0.1, 0.5)
    table = xr.Dataset({"mean": GRID}, attrs={"null": 1.0})
    assert ends(table) == (0.1, 1.0)
    assert ends(table, midpoint=0.25) == (0.1, 0.5)
    assert ends(table.assign_attrs(null="another variable")) == (None, None)


def test_a_logarithmic_map_tells_the_numbers_themselves():
    ratios = xr.DataArray([[0.01, 1.0], [100.0, 0.0]], dims=("layer", "head"))
    fig = plots.heads(ratios, log=True, midpoint=1.0)
    heat, scale = fig.data[0], fig.layout.coloraxis
    np.testing.assert_allclose(heat.z, [[-2, 0], [2, np.nan]])
    assert "mean 100" in heat.hovertext[1][0]
    assert (scale.cmin, scale.cmax) == (-2, 2)
    assert scale.colorbar.ticktext == ("0.01", "0.1", "1", "10", "100")
    with pytest.raises(InputError, match="no place for a midpoint of 0"):
        plots.heads(ratios, log=True, midpoint=0.0)
