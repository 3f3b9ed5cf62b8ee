import numpy as np
import pytest
import xarray as xr

from vlmlens import plots
from vlmlens.errors import InputError

EFFECT = xr.DataArray(
    [[[0.1, -0.9, 0.3], [np.nan, 0.0, 0.5]], [[0.3, -0.7, 0.1], [np.nan, 0.0, 0.7]]],
    dims=("sample", "sender", "receiver"),
    coords={"sender": ["embed", "L1H0"], "receiver": ["M0", "L2H1.q", "logits"]},
    attrs={"long_name": "effect", "units": "logits"},
)


def test_a_cell_is_a_path_and_its_mean():
    fig = plots.paths(EFFECT)
    (heat,) = fig.data
    np.testing.assert_allclose(heat.z, [[0.2, -0.8, 0.2], [np.nan, 0.0, 0.6]])
    assert heat.hovertext[0][1].startswith("sender embed, receiver L2H1.q<br>mean -0.8<br>")
    assert fig.layout.xaxis.ticktext == ("M0", "L2H1.q", "logits")
    assert fig.layout.yaxis.ticktext == ("embed", "L1H0")
    scale = fig.layout.coloraxis
    assert (scale.cmin, scale.cmax) == pytest.approx((-0.8, 0.6))
    assert scale.colorbar.title.text == "effect [logits]"


def test_the_largest_are_shown_in_the_order_they_had():
    (heat,) = plots.paths(EFFECT, most=1).data
    assert heat.z.tolist() == [[pytest.approx(-0.8)]]
    fig = plots.paths(EFFECT, most=2)
    assert fig.layout.xaxis.ticktext == ("L2H1.q", "logits")
    assert fig.layout.yaxis.ticktext == ("embed", "L1H0")


def test_a_table_of_tests_carries_dots():
    table = EFFECT.mean("sample").to_dataset(name="mean")
    table["low"], table["high"], table["n"] = table["mean"] - 1, table["mean"] + 1, 8
    table["p_corrected"] = xr.full_like(table["mean"], 0.5)
    table["p_corrected"][0, 1] = 0.01
    dots = plots.paths(table).data[1]
    assert (dots.x.tolist(), dots.y.tolist()) == ([1], [0])


def test_other_dimensions_are_refused():
    with pytest.raises(InputError, match="a map of paths needs sender, receiver"):
        plots.paths(EFFECT.rename(receiver="head"))
