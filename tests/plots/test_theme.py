import numpy as np
import plotly.graph_objects as go
import pytest

from vlmlens.errors import InputError
from vlmlens.plots.theme import ROLE_COLOURS, colour, diverging_scale, faded, log_axis, plain, ticks


def channels(rgb):
    return np.array([float(part) for part in rgb.removeprefix("rgb(").rstrip(")").split(",")])


def test_no_two_roles_look_alike():
    assert len(set(ROLE_COLOURS.values())) == len(ROLE_COLOURS)


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
