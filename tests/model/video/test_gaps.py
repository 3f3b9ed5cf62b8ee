"""VideoLLaMA 3: frames of which the processor leaves out what resembles the frame before."""

import numpy as np
import pytest
import torch
from films import asked, opened

import vlmlens as vl
from vlmlens.errors import InputError
from vlmlens.interventions import CompressVision, PermuteVision
from vlmlens.plots import folded, placed
from vlmlens.probes import attention_rows

pytestmark = pytest.mark.slow
EMBED = "hook_embed"
KEPT = [(1, 2), (1, 4)]


def embedded(vlm, inputs, edit=()):
    return vlm.run(inputs, edit, save=EMBED).saved[EMBED][0]


@pytest.fixture(scope="module")
def gaps():
    """Of the second frame two patches are kept of 6 x 9, in one row."""
    vlm = opened("video_llama_3")
    first = np.random.default_rng(0).integers(0, 256, (48, 72, 3), dtype=np.uint8)
    second = first.copy()
    for _, column in KEPT:
        part = np.s_[8:16, column * 8 : (column + 1) * 8]
        second[part] = 255 - second[part]
    inputs = vlm.inputs(asked(vl.Video([first, second], 1)))
    layout = inputs.layouts[0]
    own = layout.vision(0, 1)
    assert layout.grid(0, 1) == (6, 9)
    assert [*zip(layout.row[own].tolist(), layout.column[own].tolist(), strict=True)] == KEPT
    return vlm, inputs


@pytest.mark.parametrize(
    ("design", "said"),
    [
        ("mirror", "column 0, 1, 3, 5, 6, 7, 8"),
        ("columns", "column 0, 1, 3, 5, 6, 7, 8"),
        ("rotate 180", "row 0, 2, 3, 4, 5 and column 0, 1, 3, 5, 6, 7, 8"),
        ("flip", "row 0, 2, 3, 4, 5"),
        ("rows", "row 0, 2, 3, 4, 5"),
    ],
)
def test_what_needs_a_place_that_was_left_out_is_refused(gaps, design, said):
    vlm, inputs = gaps
    with pytest.raises(InputError, match=f"'{design}' needs .* are left out: {said}"):
        vlm.run(inputs, PermuteVision(design=design))


def test_what_needs_none_of_them_is_run(gaps):
    vlm, inputs = gaps
    layout, clean = inputs.layouts[0], embedded(vlm, inputs)
    one, other = layout.vision(0, 1)
    moved = embedded(vlm, inputs, PermuteVision(design="within rows", seed=1))
    kept = [[clean[one], clean[other]], [clean[other], clean[one]]]
    assert any(all(map(torch.equal, (moved[one], moved[other]), pair)) for pair in kept)


@pytest.mark.parametrize(("rows", "columns"), [(1, 2), (2, 2), (2, 4), (3, 3), (6, 9)])
def test_a_cell_holds_what_it_would_hold_of_a_whole_frame(gaps, rows, columns):
    """By hand: which of the two share a cell is said by the video's 6 x 9, not by what is kept."""
    vlm, inputs = gaps
    layout, clean = inputs.layouts[0], embedded(vlm, inputs)
    one, other = layout.vision(0, 1)
    edit = CompressVision(rows=rows, columns=columns, repeat=True)
    blurred = embedded(vlm, inputs, edit)
    if 2 * columns // 9 == 4 * columns // 9:
        mean = (clean[one] + clean[other]) / 2
        assert torch.allclose(blurred[one], mean, atol=1e-6)
        assert torch.equal(blurred[one], blurred[other])
    else:
        assert torch.equal(blurred[[one, other]], clean[[one, other]])


def test_two_patches_are_no_grid_to_draw(gaps):
    vlm, inputs = gaps
    layout = inputs.layouts[0]
    found = attention_rows(vlm.run(inputs, save=vl.probes.rows.NEEDS)).attention.isel(query=-1)
    assert dict(folded(found).sizes) == {"layer": 3, "head": 4, "row": 6, "column": 9}
    values = placed(found.drop_vars([n for n in found.coords if n != "key"]), layout)
    for table in (found, values):
        with pytest.raises(InputError, match="make no grid of 6 x 9: there are 2"):
            folded(table, tile=1)
    whole = folded(found).isel(layer=0, head=0, drop=True).drop_vars(["left", "top"])
    assert placed(whole, layout).sizes["column"] == 9
    with pytest.raises(InputError, match="has 2 tokens on 6 x 9 places"):
        placed(whole, layout, tile=1)
