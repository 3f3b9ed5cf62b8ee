"""Pictures of which tokens are dropped: the others keep their places, in every family."""

import numpy as np
import pytest
import torch
from closeness import assert_close
from conftest import QUESTIONS, picture
from standing import all_stands

import vlmlens as vl
from vlmlens import display, plots, probes
from vlmlens.errors import EmptySelectionError, InputError
from vlmlens.interventions import (
    CompressVision,
    DropTokens,
    KnockOut,
    MovePositions,
    NormalizeVision,
    PermuteVision,
    ZeroAblate,
)
from vlmlens.positions import Cell, Column, Region, Row
from vlmlens.zoo.tiny import build


def drop(positions):
    return DropTokens(where=vl.Where(positions=positions))


def test_what_is_left_keeps_its_place(every_vlm):
    shown = [picture(0), picture(1, (60, 40))]
    all_stands(every_vlm, every_vlm.inputs([shown], [QUESTIONS[0]]))


@pytest.fixture(scope="module")
def inputs(vlm):
    return vlm.inputs([picture(0), picture(1)], list(QUESTIONS))


def test_edits_behind_it_mean_the_rows_they_name(vlm, inputs):
    zero = ZeroAblate("hook_embed", vl.Where(positions=Row(-1)))
    gone = drop(Column(-1) | Row(0))
    clean, edited = (
        vlm.run(inputs, [gone, *edits], save="hook_embed").saved["hook_embed"]
        for edits in ([], [zero])
    )
    for row, layout in enumerate(inputs.layouts):
        hit = (clean[row] != edited[row]).any(-1).numpy()
        assert np.array_equal(hit, Row(-1).of(layout) & ~Column(-1).of(layout))
    with pytest.raises(EmptySelectionError, match="no position here"):
        vlm.run(inputs, [drop(Row(-1)), zero])


def test_a_coarse_grid_is_pooled_of_what_is_left(vlm, inputs):
    whole = inputs.layouts[0]
    rows, columns = whole.grid()
    edits = [drop(Row(-1)), CompressVision(rows=2, columns=2)]
    run = vlm.run(inputs, edits, save="hook_embed")
    before = vlm.run(inputs, save="hook_embed").saved["hook_embed"][0]
    layout = run.inputs.layouts[0]
    left = whole.row[whole.vision(0)] * 2 // rows  # of a grid of 3 x 3, one coarse row is gone
    coarse = {*left[whole.row[whole.vision(0)] < rows - 1].tolist()}
    assert layout.grid() == (2, 2) and len(layout.vision(0)) == 2 * len(coarse)
    for at in layout.vision(0):
        own = whole.image == 0
        own &= (whole.row * 2 // rows == layout.row[at]) & (whole.row < rows - 1)
        own &= whole.column * 2 // columns == layout.column[at]
        assert_close(run.saved["hook_embed"][0, at], before[torch.from_numpy(own)].mean(0))


@pytest.mark.parametrize(
    "edit",
    [
        NormalizeVision(),
        CompressVision(),
        CompressVision(repeat=True),
        PermuteVision(design="mirror"),
        PermuteVision(design="mirror", moves="position ids"),
        MovePositions(),
    ],
    ids=str,
)
def test_an_image_that_is_gone_is_not_edited(vlm, inputs, edit):
    with pytest.raises(EmptySelectionError, match="vision"):
        vlm.run(inputs, [drop("vision"), edit])


def test_of_two_pictures_the_one_that_is_left_is_edited(vlm):
    both = vlm.inputs([[picture(0), picture(1)]], [QUESTIONS[0]])
    mirror, gone = PermuteVision(design="mirror"), drop(Region(image=0))
    clean, edited = (
        vlm.run(both, [gone, *edits], save="hook_embed").saved["hook_embed"][0]
        for edits in ([], [mirror])
    )
    here = both.layouts[0].vision(1)
    order = here[mirror.order(both.layouts[0], 1, both.keys[0])]
    assert torch.equal(edited[torch.from_numpy(here)], clean[torch.from_numpy(order)])
    first = torch.from_numpy(both.layouts[0].vision(0))
    assert torch.equal(edited[first], clean[first])


def test_at_the_projector_rows_are_those_of_what_is_left(every_vlm):
    """A projector makes a row of what is dropped as well: the others' rows stay theirs."""
    both = every_vlm.inputs([[picture(0), picture(1)]], [QUESTIONS[0]])
    for gone in (drop(Row(0)), drop(Region(image=0))):
        try:
            there = every_vlm.run(both, [gone, PermuteVision("projector.hook_out", seed=3)])
        except InputError as error:
            refused = str(error)
            assert "edit at hook_embed" in refused or "no activation point" in refused
            with pytest.raises(InputError):  # with or without what was dropped
                every_vlm.run(both, PermuteVision("projector.hook_out", seed=3))
            continue
        here = every_vlm.run(both, [gone, PermuteVision(seed=3)])
        clean = every_vlm.run(both, gone)
        assert_close(there.logits[:, -1], here.logits[:, -1])
        assert (there.logits[:, -1] - clean.logits[:, -1]).abs().max() > 1e-4


def test_what_a_deep_tower_adds_moves_with_what_is_left():
    with vl.HookedVLM(*build("qwen3_vl")) as vlm:
        given = vlm.inputs([picture(0, (96, 96))], [QUESTIONS[0]])
        here = given.layouts[0].vision(0)
        gone = Row(0)
        left = np.flatnonzero(~gone.of(given.layouts[0])[here])
        order = np.arange(len(here))
        order[left] = np.roll(left, 1)
        unread = KnockOut(where=vl.Where(queries=~gone, keys=gone))
        slow = vlm.run(given, [unread, PermuteVision(permutation=tuple(order.tolist()))])
        few = tuple(np.roll(np.arange(len(left)), 1).tolist())
        fast = vlm.run(given, [drop(gone), PermuteVision(permutation=few)])
        assert_close(fast.logits[:, -1], slow.logits[:, -1])


def test_what_is_gone_is_not_shown(vlm, inputs):
    whole = vlm.inputs([[picture(0), picture(1)]], [QUESTIONS[0]])
    left = drop(Region(image=1)).prepare(whole).layouts[0]
    clean = whole.layouts[0]
    assert left.seen(1) == 0 and left.seen(0) == clean.seen(0)
    share = probes.share_seen(vlm.run(whole, drop(Region(image=1)))).item()
    assert share == pytest.approx(clean.seen(0) / 2)
    with pytest.raises(EmptySelectionError, match="no patch is left of image 1"):
        left.shown(1)
    some = drop(Row(0, image=0)).prepare(whole).layouts[0]
    patches = len(clean.vision(0)) - clean.grid()[1]
    assert f"image 0: {patches} patches" in display.of_inputs([some], [], {})
    with pytest.raises(InputError, match="an edit left some out"):
        probes.image_attention(vlm.run(inputs, drop(Row(-1)), save=probes.attention_maps.NEEDS))


def test_figures_place_nothing_where_a_token_is_gone(vlm, inputs):
    import xarray as xr

    left = drop(Cell(0, 0)).prepare(inputs).layouts[0]
    gone = int(inputs.layouts[0].vision(0)[0])
    along = plots.placed(xr.DataArray(np.zeros(len(left)), dims="pos"), left)
    assert along.row.values[gone] == along.image.values[gone] == -1
    assert np.isnan(along.left.values[gone]) and along.row.values[gone + 1] == 0
    coarse = CompressVision(rows=2, columns=2).prepare(inputs).layouts[0]
    grid = plots.placed(xr.DataArray(np.zeros((2, 2)), dims=("row", "column")), coarse)
    box = inputs.layouts[0].box[inputs.layouts[0].vision(0)]
    edges = [grid[name].values for name in ("left", "top", "right", "bottom")]
    assert [edge[0, 0] for edge in edges[:2]] == [box[:, 0].min(), box[:, 1].min()]
    assert [edge[-1, -1] for edge in edges[2:]] == [box[:, 2].max(), box[:, 3].max()]
    assert edges[2][0, 0] == edges[0][0, 1] and edges[3][0, 0] == edges[1][1, 0]
