import numpy as np
import pytest
import xarray as xr

from vlmlens import plots
from vlmlens.errors import InputError
from vlmlens.plots.theme import ROLE_COLOURS

NORMS = xr.DataArray(
    [10.0, 20.0, 40.0, 1.0, np.nan],
    dims="token",
    coords={"role": ("token", ["vision"] * 3 + ["user"] * 2)},
    attrs={"long_name": "L2 norm", "units": "model units"},
)


def parts(fig):
    return {t.name: t for t in fig.data if t.type == "violin"}, [
        t for t in fig.data if t.type == "scatter"
    ]


def test_a_group_is_its_values_on_a_logarithmic_axis():
    fig = plots.violins(NORMS)
    shapes, middles = parts(fig)
    np.testing.assert_allclose(shapes["vision"].y, np.log10([10, 20, 40]))
    assert shapes["vision"].line.color == ROLE_COLOURS["vision"]
    assert middles[0].y == (np.log10(20),)
    assert middles[0].hovertext == (
        "vision<br>n = 3<br>median 20<br>quartiles 15 and 30<br>from 10 to 40"
    )
    ticks = dict(zip(fig.layout.yaxis.ticktext, fig.layout.yaxis.tickvals, strict=True))
    assert ticks["10"] == 1.0


def test_absent_values_are_left_out():
    shapes, middles = parts(plots.violins(NORMS))
    assert "n = 1<" in middles[1].hovertext
    assert len(shapes["user"].y) == 1


def test_many_values_are_drawn_from_their_quantiles():
    values = np.random.default_rng(0).lognormal(size=20_000)
    many = xr.DataArray(values, dims="token", coords={"role": ("token", ["user"] * 20_000)})
    shapes, middles = parts(plots.violins(many))
    drawn = 10 ** np.array(shapes["user"].y)
    assert len(drawn) == 500
    assert (drawn.min(), drawn.max()) == pytest.approx((values.min(), values.max()))
    assert np.median(drawn) == pytest.approx(np.median(values), rel=0.02)
    assert "n = 20000" in middles[0].hovertext


def test_groups_may_be_a_dimension():
    wide = xr.DataArray([[1.0, 2.0], [3.0, 4.0]], dims=("sample", "model"))
    shapes, _ = parts(plots.violins(wide.assign_coords(model=["a", "b"]), by="model", log=False))
    assert shapes["b"].y.tolist() == [2, 4]


def test_what_it_cannot_draw_is_refused():
    with pytest.raises(InputError, match="log=False"):
        plots.violins(NORMS - 5)
    with pytest.raises(InputError, match="need 'model'"):
        plots.violins(NORMS, by="model")
    with pytest.raises(InputError, match="has any value"):
        plots.violins(NORMS * np.nan)
