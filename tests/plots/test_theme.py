from itertools import combinations

import numpy as np
import plotly.graph_objects as go
import pytest
import xarray as xr

from vlmlens.errors import InputError
from vlmlens.plots import dark, depth, heads
from vlmlens.plots.theme import (
    COLOURS,
    ON_DARK,
    ROLE_COLOURS,
    TITLE_WIDTH,
    colour,
    colour_bar,
    diverging_scale,
    faded,
    log_axis,
    plain,
    ticks,
)


def channels(rgb):
    return np.array([float(part) for part in rgb.removeprefix("rgb(").rstrip(")").split(",")])


def test_no_two_roles_look_alike():
    assert len(set(ROLE_COLOURS.values())) == len(ROLE_COLOURS)


#: Machado, Oliveira and Fernandes 2009, full severity, on linear RGB.
BLINDNESS = {
    "none": np.eye(3),
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}
#: Linear RGB to CIE XYZ under D65.
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(hex_colour, seen_by):
    """CIE L*a*b*: a distance of 2 is just seen by a sharp eye, 10 at a glance."""
    srgb = np.frombuffer(bytes.fromhex(hex_colour[1:]), np.uint8) / 255
    linear = np.where(srgb > 0.04045, ((srgb + 0.055) / 1.055) ** 2.4, srgb / 12.92)
    xyz = XYZ @ np.clip(np.array(BLINDNESS[seen_by]) @ linear, 0, 1) / XYZ.sum(1)
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("seen_by", BLINDNESS)
def test_the_colours_of_roles_stay_apart_for_colour_blind_readers(seen_by):
    seen = {role: lab(hue, seen_by) for role, hue in ROLE_COLOURS.items()}
    for (one, a), (other, b) in combinations(seen.items(), 2):
        assert np.linalg.norm(a - b) > 10, (one, other)


def test_a_figure_on_dark_leaves_the_light_one_and_its_scales_alone():
    grid = xr.DataArray([[0.0, 1.0]], dims=("layer", "head"))
    fig = heads(grid, midpoint=0.5)
    before = fig.to_json()
    turned = dark(fig)
    assert fig.to_json() == before
    assert turned.layout.template.layout.paper_bgcolor == ON_DARK["white"]
    assert turned.layout.coloraxis.colorscale == fig.layout.coloraxis.colorscale
    np.testing.assert_array_equal(turned.data[0].z, fig.data[0].z)


def test_ink_and_bands_turn_light_on_dark():
    curve = xr.DataArray([[1.0, 2.0], [2.0, 4.0]], dims=("sample", "layer"))
    band, line = dark(depth(curve)).data
    assert line.line.color == ON_DARK[COLOURS[0]]
    assert band.fillcolor == faded(ON_DARK[COLOURS[0]], 0.18)


def test_a_role_keeps_its_colour_wherever_it_stands():
    assert colour("vision", 0) == colour("vision", 3) == ROLE_COLOURS["vision"]
    assert colour("model a", 0) != colour("model b", 1)


def test_text_is_shown_and_not_obeyed():
    assert plain("<b>a</b> & </script>") == "&lt;b&gt;a&lt;/b&gt; &amp; &lt;/script&gt;"


def test_faded_keeps_the_hue():
    assert faded("#0072B2", 0.5) == "rgba(0,114,178,0.5)"


def test_a_diverging_scale_is_neutral_at_its_midpoint_and_even_on_both_sides():
    scale = diverging_scale(low=0.0, high=4.0, midpoint=2.0)
    assert [scale[0][0], scale[-1][0]] == [0.0, 1.0]
    neutral = channels(scale[8][1])
    assert np.ptp(neutral) < 15  # grey
    low, high = channels(scale[0][1]), channels(scale[-1][1])
    assert low[2] > low[0]  # blue below
    assert high[0] > high[2]  # red above


def test_a_diverging_scale_ends_where_the_values_do():
    whole, part = diverging_scale(0.0, 4.0, 2.0), diverging_scale(2.0, 4.0, 2.0)
    assert part[0][1] == whole[8][1]
    assert part[-1][1] == whole[-1][1]


@pytest.mark.parametrize(
    ("count", "shown"),
    [(1, [0]), (4, [0, 1, 2, 3]), (32, [0, 5, 10, 15, 20, 25, 31]), (25, [0, 5, 10, 15, 24])],
)
def test_ticks_name_the_first_the_last_and_some_between(count, shown):
    axis = ticks([str(place) for place in range(count)])
    assert axis["tickvals"] == shown
    assert axis["ticktext"] == [str(place) for place in shown]


def test_a_logarithmic_axis_counts_by_one_two_five():
    axis = log_axis([go.Scatter(y=[1.0, 30.0]), go.Scatter(y=[np.nan, 4.0])])
    assert axis == {
        "type": "log",
        "tickvals": [0.5, 1, 2, 5, 10, 20, 50],
        "ticktext": ["0.5", "1", "2", "5", "10", "20", "50"],
    }


def test_a_logarithmic_axis_refuses_what_it_would_silently_leave_out():
    with pytest.raises(InputError, match="no place for -1"):
        log_axis([go.Scatter(y=[1.0, -1.0])])


def test_the_title_of_a_bar_is_no_longer_than_the_bar():
    long = "change of alpha_V when all other keys are rotated [fraction]"
    (title,) = (colour_bar(long)["title"]["text"],)
    assert title.replace("<br>", " ") == long
    assert max(map(len, title.split("<br>"))) <= TITLE_WIDTH
    assert colour_bar("probability")["title"]["text"] == "probability"


def test_labels_that_name_a_colour_stay_as_they_are():
    curves = xr.DataArray(
        [[1.0, 2.0], [2.0, 4.0]], dims=("of", "layer"), coords={"of": ["white", "#ffffff"]}
    )
    fig = depth(curves, by="of", title="white")
    turned = dark(fig)
    assert [trace.name for trace in turned.data] == [trace.name for trace in fig.data]
    assert turned.layout.title.text == "white"
    assert turned.layout.template.layout.paper_bgcolor == ON_DARK["white"]
