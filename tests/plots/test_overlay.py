import base64
from io import BytesIO

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from plots.made import EDGES, attention
from vlmlens import plots
from vlmlens.errors import InputError

VALUES = xr.DataArray(
    [[0.0, 1.0, 2.0], [3.0, 4.0, np.nan]], dims=("row", "column"), name="attention"
)


def picture_in(fig):
    (image,) = fig.layout.images
    return Image.open(BytesIO(base64.b64decode(image.source.split(",")[1])))


def test_row_zero_is_at_the_top_and_cells_fill_the_picture():
    fig = plots.overlay(Image.new("RGB", (60, 40)), VALUES)
    (heat,) = fig.data
    np.testing.assert_array_equal(heat.z, VALUES)
    assert (fig.layout.xaxis.range, fig.layout.yaxis.range) == ((0, 60), (40, 0))
    np.testing.assert_allclose(heat.x, [0, 20, 40, 60])  # edges, one more than cells
    np.testing.assert_allclose(heat.y, [0, 20, 40])
    (image,) = fig.layout.images
    assert (image.x, image.y, image.sizex, image.sizey) == (0, 0, 60, 40)
    assert 0 < heat.opacity < 1


def test_cells_lie_where_their_boxes_say():
    """A centre crop: the outer ten pixels on either side belong to no cell."""
    left, top = np.meshgrid([10.0, 20.0, 30.0], [0.0, 20.0])
    box = {"left": left, "top": top, "right": left + 10, "bottom": top + 20}
    values = VALUES.assign_coords({e: (("row", "column"), x) for e, x in box.items()})
    (heat,) = plots.overlay(Image.new("RGB", (50, 40)), values).data
    np.testing.assert_allclose(heat.x, [10, 20, 30, 40])
    np.testing.assert_allclose(heat.y, [0, 20, 40])
    with pytest.raises(InputError, match="pass the original"):
        plots.overlay(Image.new("RGB", (25, 20)), values)
    with pytest.raises(InputError, match="no grid"):
        crooked = values.assign_coords(left=values["left"] + [[0], [1]])
        plots.overlay(Image.new("RGB", (50, 60)), crooked)


def test_positions_are_folded_onto_their_image():
    table = attention(words=("<s>", "a", ":"))
    row = table["attention"].sel(layer=1, head=0, query=11)
    grid = plots.folded(row)
    assert grid.dims == ("row", "column")
    np.testing.assert_array_equal(grid.values.ravel(), row.values[1:10])
    assert [float(grid[edge][1, 2]) for edge in EDGES] == [60, 30, 90, 60]
    shuffled = row.isel(key=np.random.default_rng(0).permutation(row.sizes["key"]))
    np.testing.assert_array_equal(plots.folded(shuffled), grid)
    heads = plots.folded(table["attention"].sel(query=11))
    assert heads.dims == ("layer", "head", "row", "column")
    with pytest.raises(InputError, match="no image 1"):
        plots.folded(row, image=1)
    with pytest.raises(InputError, match="a tile 2"):
        plots.folded(row, tile=2)
    with pytest.raises(InputError, match="make no grid"):
        plots.folded(row.isel(key=slice(0, 9)))


def test_the_picture_keeps_its_proportions_and_its_pixels():
    picture = Image.new("RGB", (60, 40), (10, 20, 30))
    fig = plots.overlay(picture, VALUES)
    assert picture_in(fig).getpixel((0, 0)) == (10, 20, 30)
    assert fig.layout.yaxis.scaleratio == 1  # the axes count its pixels
    assert picture.size == (60, 40)


def test_large_pictures_are_made_smaller_in_the_figure_only():
    picture = Image.new("RGB", (4000, 2000))
    assert picture_in(plots.overlay(picture, VALUES)).size == (800, 400)
    assert picture.size == (4000, 2000)


def test_pointing_tells_row_column_and_value():
    (heat,) = plots.overlay(Image.new("L", (6, 4)), VALUES.transpose("column", "row")).data
    assert heat.hovertext[1][0] == "row 1, column 0<br>3"


@pytest.mark.parametrize(
    "array",
    [
        np.full((4, 6, 3), 255, dtype=np.uint8),
        np.full((4, 6, 4), 255, dtype=np.uint8),
        np.full((4, 6), 255, dtype=np.uint8),
        np.ones((4, 6, 1)),
        np.ones((4, 6, 3), dtype=np.float32),
    ],
)
def test_arrays_are_pictures_too(array):
    picture = picture_in(plots.overlay(array, VALUES))
    assert picture.size == (6, 4)
    assert picture.getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((3, 4, 6), dtype=np.uint8), r"\(3, 4, 6\)"),
        (np.zeros((0, 6), dtype=np.uint8), r"\(0, 6\)"),
        (np.full((4, 6, 3), 200.0), "from 200.0 to 200.0"),
        (np.zeros((4, 6, 3), dtype=np.int64), "int64"),
    ],
)
def test_other_arrays_are_refused(array, said):
    with pytest.raises(InputError, match=said):
        plots.overlay(array, VALUES)


def test_the_values_must_be_a_grid():
    with pytest.raises(InputError, match="needs row, column"):
        plots.overlay(Image.new("RGB", (6, 4)), VALUES.rename(column="patch"))
