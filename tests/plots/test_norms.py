import numpy as np
import pytest
import xarray as xr

from vlmlens import plots
from vlmlens.errors import InputError

LABELS = ["embedding", "after block 0", "after final norm"]


def hidden_norm():
    """Vision is 8, 2 and 1 times the user's in one sample; 4, 2 and 1 times in the other."""
    user = np.array([[1.0, 5.0, 9.0], [2.0, 5.0, 9.0]])
    vision = user * [[8, 2, 1], [4, 2, 1]]
    system = np.full_like(user, np.nan)
    return xr.DataArray(
        np.stack([system, user, vision], -1),
        dims=("sample", "depth", "role"),
        coords={"role": ["system", "user", "vision"], "depth_label": ("depth", LABELS)},
    )


def lines(fig, axis):
    return {t.name: list(t.y) for t in fig.data if t.mode == "lines+markers" and t.yaxis == axis}


def test_the_left_panel_shows_each_role_that_is_there():
    assert lines(plots.norms(hidden_norm()), "y") == {"user": [1.5, 5.0], "vision": [8.0, 10.0]}


def test_the_ratio_is_taken_within_a_sample_before_the_mean():
    fig = plots.norms(hidden_norm())
    assert lines(fig, "y2") == {"vision / user": [6.0, 2.0]}  # not 8 / 1.5
    apart = fig.data[-1]
    assert (list(apart.x), list(apart.y)) == ([2], [1.0])
    assert "after final norm" in apart.hovertext[0]


def test_equal_length_is_marked_and_both_axes_are_logarithmic():
    layout = plots.norms(hidden_norm(), title="a <b>").layout
    (line,) = layout.shapes
    assert (line.y0, line.y1, line.yref) == (1, 1, "y2")
    assert layout.yaxis.type == layout.yaxis2.type == "log"
    assert layout.title.text == "a &lt;b&gt;"


def test_a_role_without_tokens_leaves_the_ratio_empty():
    values = hidden_norm().where(hidden_norm()["role"] != "vision")
    assert np.isnan(lines(plots.norms(values), "y2")["vision / user"]).all()


def test_both_roles_are_needed():
    with pytest.raises(InputError, match="there are system, user"):
        plots.norms(hidden_norm().isel(role=[0, 1]))
    with pytest.raises(InputError, match="needs depth, role"):
        plots.norms(hidden_norm().isel(role=0))
