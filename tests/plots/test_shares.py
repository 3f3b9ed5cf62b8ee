import numpy as np
import pytest
import xarray as xr

from vlmlens import plots
from vlmlens.errors import InputError
from vlmlens.plots.theme import ROLE_COLOURS

#: The paper's table of 20 COCO images: LLaVA-1.5 and +Normalize.
PAPER = xr.DataArray(
    [[0.718, 0.214, 0.068], [0.726, 0.188, 0.086]],
    dims=("model", "part"),
    coords={"model": ["LLaVA-1.5", "+Normalize"], "part": ["system", "vision", "user"]},
)


def test_a_bar_is_cut_into_its_shares():
    bars = {bar.name: bar for bar in plots.shares(PAPER, by="model").data}
    np.testing.assert_allclose(bars["vision"].x, [21.4, 18.8])
    assert bars["vision"].marker.color == ROLE_COLOURS["vision"]
    assert bars["vision"].text == ("21", "19")
    assert bars["vision"].hovertext[1] == "+Normalize<br>vision<br>mean 0.188"


def test_one_entry_and_roles_that_nobody_plays():
    one = xr.DataArray([0.6, 0.4, 0.0], dims="role", coords={"role": ["user", "vision", "system"]})
    assert [bar.name for bar in plots.shares(one).data] == ["user", "vision"]


def test_samples_are_averaged_with_an_interval():
    (first, _) = plots.shares(
        xr.DataArray([[0.2, 0.8], [0.4, 0.6]], dims=("sample", "part")).assign_coords(
            part=["vision", "user"]
        )
    ).data
    assert first.x.tolist() == pytest.approx([30])
    assert "95 % interval [-0.9706, 1.571]" in first.hovertext[0]  # Student's, of two samples


def test_shares_that_do_not_sum_to_one_are_refused():
    with pytest.raises(InputError, match="sum to 1"):
        plots.shares(PAPER * 2, by="model")
    with pytest.raises(InputError, match="part or role"):
        plots.shares(PAPER.rename(part="kind"), by="model")
    with pytest.raises(InputError, match="choose one model"):
        plots.shares(PAPER)
