"""Figures on an image: similarity, logit lens, the atlas of heads, and the sweep's folded grid."""

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from vlmlens import plots
from vlmlens.errors import InputError
from vlmlens.probes.statistics import map_test

PICTURE = Image.new("RGB", (60, 40))
GRID = xr.DataArray([[-1.0, 0.0, 0.5], [1.0, 0.2, 0.1]], dims=("row", "column"))


def test_similarity_goes_from_minus_one_to_one_around_the_chosen_token():
    fig = plots.similarity(PICTURE, GRID, of=(1, 0))
    assert (fig.data[0].zmin, fig.data[0].zmax) == (-1, 1)
    frame = fig.layout.shapes[-1]
    assert (frame.x0, frame.x1, frame.y0, frame.y1) == (0, 20, 20, 40)
    assert not plots.similarity(PICTURE, GRID).layout.shapes
    with pytest.raises(InputError, match="grid is 2 x 3"):
        plots.similarity(PICTURE, GRID, of=(2, 0))
    with pytest.raises(InputError, match="between -1 and 1"):
        plots.similarity(PICTURE, 2 * GRID)


def lens_table():
    tokens = np.array([[["red", "<b>", " left"]] * 2, [["blue", "a", "\n"]] * 2])
    chance = np.array([np.abs(GRID.values) + 0.01, GRID.values**2 + 0.01]) / 1.01
    dims = ("layer", "row", "column")
    return xr.Dataset(
        {"word": (dims, tokens), "log_prob": (dims, np.log(chance))}, coords={"layer": [0, 7]}
    )


def test_a_lens_shows_the_last_layer_first_and_slides_to_the_others():
    fig = plots.lens(PICTURE, lens_table())
    assert [trace.visible for trace in fig.data] == [False, False, True, True]
    words = fig.data[3]
    assert words.text[:3] == ("blue", "a", "⏎")
    assert (words.x[0], words.y[0]) == (10, 10)
    assert [t.zmax for t in fig.data if t.type == "heatmap"] == pytest.approx([1, 1])
    steps = fig.layout.sliders[0].steps
    assert [step.label for step in steps] == ["0", "7"]
    assert steps[0].args[0]["visible"] == [True, True, False, False]
    assert fig.data[0].hovertext[0][1] == "row 0, column 1<br>'&lt;b&gt;'<br>p = 0.0099"
    assert fig.data[1].text[1] == "&lt;b&gt;"


def test_a_lens_of_one_layer_has_no_slider():
    one = lens_table().isel(layer=0, drop=True)
    assert not plots.lens(PICTURE, one).layout.sliders
    with pytest.raises(InputError, match="log_prob"):
        plots.lens(PICTURE, one.drop_vars("log_prob"))


def atlas_values():
    values = np.zeros((2, 2, 2, 3))
    values[0, 1, 1, 2] = 0.5  # layer 0, head 1: the last cell of the map
    values[1, 0, 0, 0] = 0.1
    return xr.DataArray(values, dims=("layer", "head", "row", "column"))


def test_an_atlas_lays_layer_zero_at_the_bottom_and_heads_from_the_left():
    fig = plots.atlas(atlas_values())
    (heat,) = fig.data
    plane = np.array(heat.z, dtype=float)
    assert plane.shape == (2 * 2 + 1, 2 * 3 + 1)
    assert plane[4, 6] == 1  # its head's largest
    assert plane[0, 0] == 1
    assert np.isnan(plane[2]).all()
    assert np.isnan(plane[:, 3]).all()
    assert heat.hovertext[4][6] == "layer 0, head 1<br>row 1, column 2: 0.5"
    assert fig.layout.yaxis.ticktext == ("1", "0")
    assert fig.layout.yaxis.autorange == "reversed"


def test_an_atlas_in_one_scale_keeps_the_amounts():
    plane = np.array(plots.atlas(atlas_values(), scale="shared").data[0].z, dtype=float)
    assert (plane[4, 6], plane[0, 0]) == (0.5, 0.1)
    with pytest.raises(InputError, match="head, shared"):
        plots.atlas(atlas_values(), scale="own")


def test_a_large_atlas_stays_light():
    large = xr.DataArray(np.ones((16, 16, 24, 24)), dims=("layer", "head", "row", "column"))
    assert plots.atlas(large).data[0].hovertext is None


def sweep_values():
    effect = np.zeros((2, 6))
    effect[1, 3] = -0.9  # row 1, column 0 of the image
    effect[0, 5] = 0.4
    return xr.DataArray(
        effect,
        dims=("layer", "pos"),
        coords={
            "token": ("pos", ["<s>", "i", "i", "i", "i", "?"]),
            "image": ("pos", [-1, 0, 0, 0, 0, -1]),
            "row": ("pos", [-1, 0, 0, 1, 1, -1]),
            "column": ("pos", [-1, 0, 1, 0, 1, -1]),
        },
        name="recovered",
    )


def test_a_sweep_folds_the_image_into_one_column_and_onto_its_grid():
    fig = plots.sweep(sweep_values())
    words, grid = fig.data
    assert fig.layout.xaxis.ticktext == ("&lt;s&gt;", "image 0:<br>max of 4", "?")
    np.testing.assert_allclose(words.z, [[0, 0, 0.4], [0, -0.9, 0]])  # the strongest, with its sign
    plane = np.array(grid.z, dtype=float)
    assert plane.shape == (2, 2 * 2 + 1)
    assert plane[1, 3] == -0.9  # layer 1, row 1, column 0
    assert grid.hovertext[1][3] == "layer 1<br>row 1, column 0<br>mean -0.9"
    assert (fig.layout.coloraxis.cmin, fig.layout.coloraxis.cmax) == (-0.9, 0.4)


def test_a_sweep_without_images_and_over_samples():
    words = sweep_values().isel(pos=[0, 5])
    assert len(plots.sweep(words).data) == 1
    twice = xr.concat([sweep_values(), 3 * sweep_values()], "sample")
    np.testing.assert_allclose(
        plots.sweep(twice).data[0].z, 2 * np.array(plots.sweep(sweep_values()).data[0].z)
    )
    with pytest.raises(InputError, match="token"):
        plots.sweep(sweep_values().drop_vars("token"))


def sweep_of_tests():
    """Thirty pairs of which one patch and one word tell, and every cell varies a little."""
    noise = np.random.default_rng(3).normal(scale=0.05, size=(30, 2, 6))
    samples = sweep_values().expand_dims(sample=30) + noise
    return map_test(samples, test="exchange")


def test_a_sweep_takes_a_table_of_tests_and_marks_what_they_find():
    table = sweep_of_tests()
    fig = plots.sweep(table)
    words, word_dots, grid, grid_dots = fig.data
    np.testing.assert_allclose(words.z[0][2], table["mean"].values[0, 5])
    assert list(zip(word_dots.x, word_dots.y, strict=True)) == [(2, 0), (1, 1)]
    assert list(zip(grid_dots.x, grid_dots.y, strict=True)) == [(3, 1)]
    assert np.array(grid.z, dtype=float)[1, 3] == table["mean"].values[1, 3]
    low, high = (table[end].values[0, 5] for end in ("low", "high"))
    assert f"95 % interval [{low:.4g}, {high:.4g}]<br>n = 30 samples" in words.hovertext[0][2]
    assert "p, corrected" in words.hovertext[0][2]
    assert [trace.showlegend for trace in (word_dots, grid_dots)] == [True, False]
    assert word_dots.name == "p < 0.05, corrected for the number of cells"


def test_a_sweep_of_unlike_prompts_is_not_named_by_the_first():
    twice = xr.concat([sweep_values(), sweep_values()], "sample")
    unlike = twice.assign_coords(token=(("sample", "pos"), np.full((2, 6), "a")))
    with pytest.raises(InputError, match="token along pos"):
        plots.sweep(unlike)
