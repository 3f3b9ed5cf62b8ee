import numpy as np
import pytest
import xarray as xr

from vlmlens import plots
from vlmlens.errors import InputError


def values(*dims, **sizes):
    sizes = {"sample": 3, "step": 4, "layer": 2, "head": 2} | sizes
    shape = [sizes[dim] for dim in dims]
    data = np.arange(np.prod(shape), dtype=float).reshape(shape)
    return xr.DataArray(data, dims=dims, name="share", attrs={"units": "fraction"})


def lines(fig):
    return [trace for trace in fig.data if trace.fill is None]


def test_every_step_has_its_word_below_it_and_where_one_points():
    fig = plots.steps(values("sample", "step", sample=1), ["a", "red", "<b>", "star"])
    (line,) = lines(fig)
    assert fig.layout.xaxis.ticktext == ("a", "red", "&lt;b&gt;", "star")
    assert fig.layout.xaxis.tickvals == (0, 1, 2, 3) == tuple(line.x)
    assert line.y.tolist() == [0, 1, 2, 3]
    assert line.hovertext[2].startswith("&lt;b&gt;<br>step 2<br>mean 2")
    assert fig.layout.yaxis.title.text == "share [fraction]"


def test_layers_and_heads_are_averaged_within_a_sample():
    given = values("sample", "step", "layer", "head")
    (line,) = lines(plots.steps(given))
    np.testing.assert_allclose(line.y, given.mean(("sample", "layer", "head")))
    first, second = lines(plots.steps(given, by="layer"))
    np.testing.assert_allclose(second.y - first.y, 2)
    assert (first.name, second.name) == ("layer 0", "layer 1")


def test_words_may_travel_with_the_values():
    own = values("step").assign_coords(word=("step", list("abcd")))
    assert plots.steps(own).layout.xaxis.ticktext == tuple("abcd")
    assert plots.steps(values("step")).layout.xaxis.title.text == "step"


def test_many_words_leave_room_for_each_other():
    fig = plots.steps(values("step", step=100), [f"w{n}" for n in range(100)])
    assert len(fig.layout.xaxis.ticktext) <= 40
    assert fig.layout.xaxis.ticktext[-1] == "w99"


def test_steps_after_the_end_are_absent():
    given = values("sample", "step").where(lambda x: x.step < 2)
    given[0] = 1.0
    (line,) = lines(plots.steps(given))
    np.testing.assert_allclose(line.y, [13 / 3, 5, 1, 1])


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="3 words for 4 steps"):
        plots.steps(values("step"), ["a", "b", "c"])
    with pytest.raises(InputError, match="words are one sample's, and these values have 3"):
        plots.steps(values("sample", "step"), list("abcd"))
    with pytest.raises(InputError, match="curves over steps needs step"):
        plots.steps(values("layer"))
