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
    picture = Image.new("RGB", (3000, 2000))
    assert picture_in(plots.overlay(picture, VALUES)).size == (800, 533)
    assert picture.size == (3000, 2000)


@pytest.mark.parametrize("size", [(640, 240), (240, 640), (400, 300), (60, 36)])
def test_cells_that_would_be_no_squares_need_their_boxes(size):
    """Where a processor cropped, the values alone do not say."""
    with pytest.raises(InputError, match=r"would be no squares.*placed"):
        plots.overlay(Image.new("RGB", size), VALUES)


def test_values_of_another_picture_are_refused():
    left, top = np.meshgrid([0.0, 10.0, 20.0], [0.0, 10.0])
    box = {"left": left, "top": top, "right": left + 10, "bottom": top + 10}
    values = VALUES.assign_coords({e: (("row", "column"), x) for e, x in box.items()})
    sized = values.assign_coords(picture_width=40, picture_height=20)
    plots.overlay(Image.new("RGB", (40, 20)), sized)
    for size in ((20, 40), (80, 40), (40, 30)):
        with pytest.raises(InputError, match="a picture of 40 x 20 pixels"):
            plots.overlay(Image.new("RGB", size), sized)


def test_cells_beyond_a_smaller_picture_are_left_out():
    left, top = np.meshgrid([0.0, 20.0, np.nan], [0.0, np.nan])
    box = {"left": left, "top": top, "right": left + 20, "bottom": top + 20}
    nowhere = np.isnan(left) | np.isnan(top)
    values = VALUES.assign_coords(
        {e: (("row", "column"), np.where(nowhere, np.nan, x)) for e, x in box.items()}
    )
    (heat,) = plots.overlay(Image.new("RGB", (40, 20)), values).data
    np.testing.assert_array_equal(heat.z, [[0.0, 1.0]])
    assert (list(heat.x), list(heat.y)) == ([0, 20, 40], [0, 20])


def test_low_values_leave_the_picture_as_it_is():
    def thickness(fig):
        (heat,) = fig.data
        return [float(colour.split(",")[3].rstrip(")")) for _, colour in heat.colorscale]

    image = Image.new("RGB", (60, 40))
    plain = thickness(plots.overlay(image, VALUES))
    assert (plain[0], plain[-1]) == (0, 1)
    assert plain == sorted(plain)
    around = thickness(plots.overlay(image, VALUES - 2, midpoint=0.0))  # from -2 to 2
    assert (around[0], around[8], around[16]) == (1, 0, 1)
    one_side = thickness(plots.overlay(image, VALUES, midpoint=0.0))
    assert (one_side[0], one_side[-1]) == (0, 1)


def test_a_file_is_laid_under_upright(tmp_path):
    exif = Image.Exif()
    exif[0x112] = 6
    Image.new("RGB", (40, 60), "red").save(tmp_path / "a.png", exif=exif)
    fig = plots.overlay(tmp_path / "a.png", VALUES)
    assert fig.layout.xaxis.range == (0, 60)


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
        (np.zeros((5, 4, 6), dtype=np.uint8), r"\(5, 4, 6\)"),
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


def test_values_on_both_sides_of_zero_are_clear_at_zero():
    image = Image.new("RGB", (60, 40))
    (signed,) = plots.overlay(image, VALUES - 2).data
    (given,) = plots.overlay(image, VALUES - 2, midpoint=0.0).data
    assert signed.colorscale == given.colorscale and (signed.zmin, signed.zmax) == (-2, 2)
    (one_way,) = plots.overlay(image, VALUES - 2, midpoint=np.nan).data
    assert one_way.zmin is None and one_way.colorscale != signed.colorscale
    (own,) = plots.overlay(image, VALUES.assign_attrs(midpoint=1.0)).data
    assert own.colorscale == plots.overlay(image, VALUES, midpoint=1.0).data[0].colorscale
