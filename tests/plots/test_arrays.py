import numpy as np
import pytest
import xarray as xr

from vlmlens.errors import InputError
from vlmlens.plots.arrays import check_dims, mean_interval, percent, title_of


def samples(*values):
    return xr.DataArray(list(values), dims="sample")


def test_the_mean_lies_inside_its_interval():
    row = mean_interval(samples(1.0, 2.0, 3.0, 6.0))
    assert row["mean"] == 3.0
    assert row["n"] == 4
    assert row["low"] < 3.0 < row["high"]


def test_the_interval_is_close_to_the_normal_one_for_many_samples():
    values = np.random.default_rng(1).normal(5.0, 2.0, size=400)
    row = mean_interval(samples(*values))
    half = 1.96 * values.std() / 20
    assert row["high"] - row["mean"] == pytest.approx(half, rel=0.1)
    assert row["mean"] - row["low"] == pytest.approx(half, rel=0.1)


def test_equal_samples_have_an_interval_without_width():
    row = mean_interval(samples(0.5, 0.5, 0.5))
    assert row["low"] == row["high"] == row["mean"] == 0.5


@pytest.mark.parametrize("values", [[7.0], [7.0, np.nan]])
def test_one_sample_has_a_mean_and_no_interval(values):
    row = mean_interval(samples(*values))
    assert row["mean"] == 7.0
    assert row["n"] == 1
    assert np.isnan(row["low"])
    assert np.isnan(row["high"])


def test_missing_values_are_left_out_of_their_own_cell_alone():
    values = xr.DataArray(
        [[1.0, np.nan, np.nan], [3.0, 4.0, np.nan], [5.0, 6.0, np.nan]], dims=("sample", "layer")
    )
    rows = mean_interval(values)
    np.testing.assert_array_equal(rows["mean"], [3.0, 5.0, np.nan])
    np.testing.assert_array_equal(rows["n"], [3, 2, 0])
    np.testing.assert_array_equal(np.isnan(rows["low"]), [False, False, True])


def test_cells_that_are_equal_have_equal_intervals():
    column = np.arange(6.0)
    rows = mean_interval(xr.DataArray(np.stack([column, column], 1), dims=("sample", "head")))
    assert rows["low"][0] == rows["low"][1]
    assert rows["high"][0] == rows["high"][1]


def test_without_samples_the_values_are_their_own_mean():
    rows = mean_interval(xr.DataArray([1.0, 2.0], dims="layer"))
    np.testing.assert_array_equal(rows["mean"], [1.0, 2.0])
    assert rows["low"].isnull().all()


def test_an_error_says_what_there_is_what_is_needed_and_what_to_do():
    values = xr.DataArray(np.zeros((2, 2, 2)), dims=("layer", "head", "step"))
    with pytest.raises(InputError, match=r"\(layer, head, step\).*\.mean\('step'\)"):
        check_dims(values, "a map", ("layer", "head"), ("sample",))
    with pytest.raises(InputError, match="needs layer, head, role"):
        check_dims(values.isel(step=0), "a map", ("layer", "head", "role"))


@pytest.mark.parametrize(
    ("attrs", "shown"),
    [
        ({"long_name": "balance", "units": "fraction"}, "balance [fraction]"),
        ({"units": "1"}, "cmb"),
        ({"long_name": "<b>"}, "&lt;b&gt;"),
    ],
)
def test_a_title_is_the_long_name_and_its_units(attrs, shown):
    assert title_of(xr.DataArray(0.0, name="cmb", attrs=attrs)) == shown


@pytest.mark.parametrize(
    ("attrs", "units", "shown"),
    [({}, None, 50.0), ({"units": "percent"}, None, 0.5), ({}, "%", 0.5)],
)
def test_percent_follows_the_units(attrs, units, shown):
    assert percent(xr.DataArray(0.5, attrs=attrs), units) == shown
