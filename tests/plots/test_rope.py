import numpy as np
import pytest
import xarray as xr

from vlmlens import plots
from vlmlens.errors import InputError

DIMS = ("sample", "layer", "head")


def table():
    """Two layers; delta_g is +1 in one head and -1 in the other."""
    signs = np.ones((3, 2, 2)) * [1.0, -1.0]
    return xr.Dataset(
        {
            "alpha_v": (DIMS, np.full((3, 2, 2), 0.25)),
            "delta_g_v": (DIMS, signs),
            "delta_alpha_v": (DIMS, 0.1 * signs),
        }
    )


def test_the_absolute_value_of_delta_g_is_taken_before_the_mean():
    lines = [trace for trace in plots.rope(table()).data if trace.mode == "lines+markers"]
    assert [trace.y.tolist() for trace in lines] == [[0.25, 0.25], [1, 1], [0, 0]]
    assert [trace.xaxis for trace in lines] == ["x", "x2", "x3"]


def test_models_have_one_colour_in_all_panels_and_one_entry_in_the_legend():
    both = xr.concat([table(), table()], "model").assign_coords(model=["LLaVA", "<b>"])
    lines = [t for t in plots.rope(both, by="model").data if t.mode == "lines+markers"]
    assert len({line.line.color for line in lines if line.name == "LLaVA"}) == 1
    shown = [line.name for line in lines if line.showlegend is not False]
    assert shown == ["LLaVA", "&lt;b&gt;"]


def test_what_is_missing_or_too_much_is_named():
    with pytest.raises(InputError, match="delta_g_v"):
        plots.rope(table().drop_vars("delta_g_v"))
    with pytest.raises(InputError, match="delta"):
        plots.rope(table().expand_dims(delta=[1.0, 2.0]))
