import numpy as np
import pytest
import xarray as xr

from vlmlens import plots
from vlmlens.errors import InputError
from vlmlens.plots.arrays import mean_interval
from vlmlens.plots.theme import ROLE_COLOURS


def by_layer():
    values = [[1.0, 4.0], [3.0, 8.0], [2.0, 9.0]]
    return xr.DataArray(values, dims=("sample", "layer"), name="alpha", attrs={"units": "nats"})


def by_depth():
    values = [[[1.0, 10.0], [2.0, 20.0], [5.0, 6.0]], [[3.0, 30.0], [4.0, 40.0], [5.0, 6.0]]]
    labels = ["embedding", "after block 0", "after final norm"]
    return xr.DataArray(
        values,
        dims=("sample", "depth", "role"),
        coords={"role": ["user", "vision"], "depth_label": ("depth", labels)},
        name="norm",
    )


def test_the_line_is_the_mean_and_the_band_its_interval():
    band, line = plots.depth(by_layer()).data
    rows = mean_interval(by_layer())
    assert list(line.y) == [2.0, 7.0]
    assert list(line.x) == [0, 1]
    assert list(band.y) == [*rows["high"].values, *rows["low"].values[::-1]]
    assert list(band.x) == [0, 1, 1, 0]
    assert line.hovertext[1].startswith("layer 1<br>mean 7<br>95 % interval [")


def test_heads_are_averaged_within_a_sample_before_the_interval_is_taken():
    offsets = xr.DataArray([-5.0, 5.0], dims="head")  # cancel within every sample
    apart, together = plots.depth(by_layer() + offsets), plots.depth(by_layer())
    for one, other in zip(apart.data, together.data, strict=True):
        np.testing.assert_allclose(one.y, other.y)


def test_one_sample_has_no_band():
    band, line = plots.depth(by_layer().isel(sample=[0])).data
    assert len(band.y) == 0
    assert list(line.y) == [1.0, 4.0]


def test_roles_have_their_own_colours_and_names():
    fig = plots.depth(by_depth(), by="role")
    lines = {trace.name: trace for trace in fig.data if trace.mode == "lines+markers"}
    assert list(lines) == ["user", "vision"]
    assert lines["vision"].line.color == ROLE_COLOURS["vision"]
    assert list(lines["vision"].y) == [20.0, 30.0]


def test_the_point_after_the_final_norm_stands_apart_and_hollow():
    _, line, apart = plots.depth(by_depth().sel(role="user", drop=True)).data
    assert list(line.x) == [0, 1]
    assert list(apart.x) == [2]
    assert list(apart.y) == [5.0]
    assert apart.mode == "markers"
    assert apart.marker.color == "white"
    assert "after final norm" in apart.hovertext[0]


def test_the_axis_names_both_ends():
    axis = plots.depth(by_depth(), by="role").layout.xaxis
    assert axis.ticktext == ("embedding", "0", "final norm")
    assert axis.title.text == "after block"
    assert plots.depth(by_layer()).layout.yaxis.title.text == "alpha [nats]"


def test_an_entry_without_values_is_left_out():
    values = by_depth().where(by_depth()["role"] != "user")
    assert {trace.legendgroup for trace in plots.depth(values, by="role").data} == {"vision"}


def test_a_logarithmic_axis():
    band, line, *_ = (fig := plots.depth(by_layer(), log=True)).data
    assert fig.layout.yaxis.type == "log"
    assert min(plots.depth(by_layer()).data[0].y) < 0 < min(band.y)  # cut off, not left out
    assert min(band.y) == min(line.y) / 10
    with pytest.raises(InputError, match="log=False"):
        plots.depth(by_layer() - 2, log=True)


def test_names_from_data_are_shown_and_not_obeyed():
    values = by_depth().assign_coords(role=["<b>a</b>", "b"])
    _, line, *_ = plots.depth(values, by="role").data
    assert line.name == "&lt;b&gt;a&lt;/b&gt;"
    assert line.hovertext[0].startswith("&lt;b&gt;a&lt;/b&gt;<br>embedding")


@pytest.mark.parametrize(
    ("dims", "by", "said"),
    [
        (("sample", "head"), None, "layer or depth"),
        (("layer", "depth"), None, "layer or depth"),
        (("layer", "role"), None, "role"),
        (("layer",), "role", "needs layer, role"),
    ],
)
def test_other_dimensions_are_refused_by_name(dims, by, said):
    with pytest.raises(InputError, match=said):
        plots.depth(xr.DataArray(np.zeros((2,) * len(dims)), dims=dims), by=by)


def test_a_new_line_of_a_title_is_one_and_has_its_room():
    one, two = (plots.depth(by_layer(), title=text) for text in ("<i>one</i>", "<i>one</i>\ntwo"))
    assert two.layout.title.text == "&lt;i&gt;one&lt;/i&gt;<br>two"
    assert two.layout.margin.t > one.layout.margin.t > plots.depth(by_layer()).layout.margin.t
