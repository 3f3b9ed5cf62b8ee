"""Units of a sweep are every patch once, of pictures in several tiles and of videos, too."""

import numpy as np
import pytest
from closeness import assert_close
from conftest import picture

import vlmlens as vl
from vlmlens import plots
from vlmlens.errors import EmptySelectionError, InputError
from vlmlens.experiments import sweep
from vlmlens.experiments.units import units
from vlmlens.interventions import PatchFrom, ZeroAblate
from vlmlens.positions import At, Cell, Region
from vlmlens.zoo.tiny import build

SIZES = ((96, 40), (40, 96), (130, 130))
PLACES = ("row", "column", "cell", "tile", ("tile", "row"), ("column", "tile"), ("tile", "cell"))
POINT = "blocks.1.hook_resid_pre"
ANSWERS = ("red", "blue")


def layouts(vlm):
    """Of pictures of several shapes, and of a video where the family takes them."""
    found = [vlm.inputs(vl.Sample("q?", picture(0, size))).layouts[0] for size in SIZES]
    if vlm.family.videos is not None:
        film = np.random.default_rng(0).integers(0, 256, (4, 48, 72, 3), dtype=np.uint8)
        told = {"videos_kwargs": {"do_sample_frames": False}}
        found.append(vlm.inputs(vl.Sample("q?", videos=vl.Video(film, 2)), **told).layouts[0])
    return found


def test_units_are_every_patch_of_the_image_once(every_vlm):
    stream, pattern = (every_vlm.hook_dict[n] for n in (POINT, "blocks.1.attn.hook_pattern"))
    for layout in layouts(every_vlm):
        patches = (layout.row >= 0) & ~layout.mask("pad")
        for over in PLACES:
            for field, point in (("positions", stream), ("queries", pattern)):
                cells = units(over, layout, point, vl.Where(), lambda: ()).cells
                masks = [getattr(where, field).mask(layout) for where in cells.values()]
                assert (np.sum(masks, 0) == patches).all(), (over, field)
        keys = units(("key_tile", "key_cell"), layout, pattern, vl.Where(), lambda: ()).cells
        assert (np.sum([each.keys.mask(layout) for each in keys.values()], 0) == patches).all()
        assert len(keys) == patches.sum()
        for (tile, row, column), where in keys.items():
            (at,) = where.keys.mask(layout).nonzero()[0]
            seen = layout.tile[at], layout.row[at], layout.column[at]
            assert seen == (tile, row, column)


@pytest.fixture(scope="module")
def tiled():
    with vl.HookedVLM(*build("llava_next"), name="llava_next") as model:
        yield model


def swept(model, over, **told):
    clean, other = (vl.Sample("q?", picture(n, (96, 40)), id=str(n)) for n in (0, 1))
    how = {"answers": ANSWERS, "normalized": False, "progress": False}
    return sweep(model, clean, other, POINT, over=over, **how, **told)


def test_a_sweep_over_cells_of_each_tile_is_one_over_their_positions(tiled):
    layout = tiled.inputs(vl.Sample("q?", picture(1, (96, 40)))).layouts[0]
    grids = [layout.grid(0, tile) for tile in range(layout.tiles(0))]
    assert len({*grids}) == 2  # or the law says little
    apart, by_position = swept(tiled, ("tile", "cell")), swept(tiled, "pos")
    assert apart.dims == ("sample", "layer", "tile", "row", "column")
    there = layout.row >= 0
    at = [layout.tile[there], layout.row[there], layout.column[there]]
    values = apart.values[0, 0][tuple(at)]
    assert_close(values, by_position.values[0, 0][there], like=np.ones(1))
    assert np.isfinite(apart.values).sum() == there.sum()
    for tile, (rows, columns) in enumerate(grids):
        own = apart.isel(sample=0, layer=0).sel(tile=tile)
        own = own.dropna("row", how="all").dropna("column", how="all")
        drawn = plots.placed(own, layout, tile=tile)
        assert drawn.shape == (rows, columns) and "right" in drawn.coords
        with pytest.raises(InputError, match=f"of tile {tile}: say tile={tile}"):
            plots.placed(own, layout, tile=1 - tile)


def test_cells_of_all_tiles_are_edited_together_and_not_drawn_as_those_of_one(tiled):
    layout = tiled.inputs(vl.Sample("q?", picture(1, (96, 40)))).layouts[0]
    rows, columns = (
        max(layout.grid(0, tile)[axis] for tile in range(layout.tiles(0))) for axis in (0, 1)
    )
    found = swept(tiled, "cell")
    assert found.shape == (1, 1, rows, columns)
    assert found["tiles"].values.tolist() == [layout.tiles(0)]
    assert swept(tiled, "column").sizes["column"] == columns
    clean, other = (tiled.inputs(vl.Sample("q?", picture(n, (96, 40)))) for n in (0, 1))
    source, floor = tiled.run(clean, save=POINT), tiled.run(other)
    ids = [tiled.tokenizer(f" {word}", add_special_tokens=False).input_ids[0] for word in ANSWERS]
    for row, column in ((0, 0), (rows - 1, columns - 1)):
        where = vl.Where(positions=Cell(row, column))
        run = tiled.run(other, [PatchFrom(POINT, where, source=source.saved)])
        gap = (run.logits - floor.logits)[0, -1]
        cell = found.sel(row=row, column=column).item()
        assert_close(cell, (gap[ids[0]] - gap[ids[1]]).item(), like=floor.logits.numpy())
    with pytest.raises(InputError, match=r"2 tiles together.*over=\('tile', 'cell'\)"):
        plots.placed(found.isel(sample=0, layer=0), layout, tile=1)


def test_one_tile_is_drawn_as_before():
    with vl.HookedVLM(*build("llava"), name="llava") as model:
        sample = vl.Sample("q?", picture(0))
        how = {"answers": ANSWERS, "progress": False, "edit": ZeroAblate(), "point": POINT}
        found = sweep(model, sample, over="cell", **how).isel(sample=0, layer=0)
        assert found["tiles"] == 1
        drawn = plots.placed(found, model.inputs(sample).layouts[0])
        assert "right" in drawn.coords


def test_rows_and_columns_of_one_tile_are_its_own(tiled):
    layout = tiled.inputs(vl.Sample("q?", picture(1, (96, 40)))).layouts[0]
    for tile in range(layout.tiles(0)):
        rows, columns = layout.grid(0, tile)
        here = layout.tile == tile
        assert np.array_equal(Region(tile=tile).mask(layout), here & (layout.row >= 0))
        last = Region(rows=-1, columns=-1, tile=tile).mask(layout).nonzero()[0]
        assert (layout.row[last], layout.column[last]) == (rows - 1, columns - 1)
        assert layout.tile[last] == tile
    with pytest.raises(EmptySelectionError, match="no tile 2: there are 2"):
        Region(tile=2).mask(layout)
    with pytest.raises(EmptySelectionError, match="no image"):
        units("tile", tiled.inputs(vl.Sample("q?")).layouts[0], tiled.hook_dict[POINT], vl.Where(),
              lambda: ())  # fmt: skip
    assert (At(0).mask(layout) != Region(tile=0).mask(layout)).any()
