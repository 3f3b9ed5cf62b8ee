import numpy as np
import pytest
import xarray as xr

from vlmlens import plots
from vlmlens.errors import InputError

FALLS = xr.DataArray(
    [[0.2, 1.0, 0.6], [0.4, 1.0, 0.8]],
    dims=("sample", "dose"),
    coords={"dose": ("dose", [1.0, 0.0, 0.5], {"long_name": "share shuffled"})},
    name="accuracy",
)


def test_doses_stand_where_their_numbers_are_and_rise():
    fig = plots.dose(FALLS, reference=0.25)
    band, line = fig.data
    assert line.x.tolist() == [0, 0.5, 1]
    np.testing.assert_allclose(line.y, [1, 0.7, 0.3])
    half = 12.7062 * 0.1  # Student's, of two samples that lie 0.2 apart
    there, back = [1, 0.7 + half, 0.3 + half], [0.3 - half, 0.7 - half, 1]
    np.testing.assert_allclose(band.y, there + back, atol=1e-4)
    assert fig.layout.xaxis.title.text == "share shuffled"
    assert fig.layout.shapes[0].y0 == 0.25


def test_a_table_of_means_and_token_counts_on_a_logarithmic_axis():
    counts = xr.DataArray([576, 256, 64, 16, 1], dims="dose")
    mean = xr.DataArray(np.linspace(1, 0.9, 5), dims="dose", coords={"dose": counts.values})
    fig = plots.dose(xr.Dataset({"mean": mean, "low": mean - 0.1, "high": mean + 0.1}), log=True)
    assert fig.layout.xaxis.type == "log"
    assert fig.layout.xaxis.ticktext == ("1", "16", "64", "256", "576")
    assert "95 % interval [0.8, 1]" in fig.data[1].hovertext[0]


def test_curves_by_name():
    both = xr.concat([FALLS, FALLS], "model").assign_coords(model=["a", "b"])
    names = [trace.name for trace in plots.dose(both, by="model").data if trace.mode != "lines"]
    assert names == ["a", "b"]


def test_doses_are_numbers_each_once():
    with pytest.raises(InputError, match="are numbers"):
        plots.dose(FALLS.assign_coords(dose=["a", "b", "c"]))
    with pytest.raises(InputError, match="each once"):
        plots.dose(FALLS.assign_coords(dose=[0.0, 0.0, 1.0]))
    with pytest.raises(InputError, match="no place for a dose of 0"):
        plots.dose(FALLS, log=True)
