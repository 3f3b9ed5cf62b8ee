"""Frames chosen, moved and measured: each of them against what the frames themselves would give."""

import numpy as np
import pytest
import torch
from conftest import by_turns, picture
from films import ALWAYS, FAMILIES, SIZE, asked, noise, opened, silenced

import vlmlens as vl
from vlmlens.errors import EmptySelectionError, InputError
from vlmlens.interventions import DropTokens, KnockOut, MovePositions, PermuteVision, ZeroAblate
from vlmlens.positions import Frame, Region, Row


@pytest.fixture(scope="module", params=by_turns(FAMILIES, ALWAYS))
def seer(request):
    return opened(request.param)


def told(vlm, video):
    return vlm.inputs(asked(video), videos_kwargs={"do_sample_frames": False})


def test_frames_are_chosen(seer):
    layout = told(seer, noise(6)).layouts[0]
    last = layout.frames() - 1
    chosen = Frame(-1).of(layout)
    patches = layout.vision(0, last)
    leading = np.flatnonzero((layout.frame == last) & (layout.row < 0))
    assert np.array_equal(np.flatnonzero(chosen), [*leading, *patches])
    assert leading.tolist() == ([patches[0] - 1] if seer.name == "video_llava" else [])
    assert np.array_equal(chosen, Frame(last, video=0).of(layout))
    both = (Frame((0, 1)) & Row(0)).of(layout)
    assert both.sum() == 2 * layout.grid()[1]
    with pytest.raises(EmptySelectionError, match="frame"):
        Frame(last + 1).of(layout)
    with pytest.raises(EmptySelectionError, match="no video"):
        Frame(0).of(seer.inputs(picture(0, (40, 40)), "What?").layouts[0])


def test_time_backward_is_the_video_shown_backward(seer):
    frames = noise(6).opened()
    merged = 6 // told(seer, noise(6)).layouts[0].frames()
    pairs = [frames[at : at + merged] for at in range(0, 6, merged)]
    other = [frame for pair in pairs[::-1] for frame in pair]
    given = [told(seer, vl.Video(each, 2)) for each in (frames, other)]
    moved = PermuteVision(design="backward")
    with silenced(seer) as alone:
        edited = seer.run(given[0], [*alone, moved], save="hook_embed").saved["hook_embed"]
        shown = seer.run(given[1], alone, save="hook_embed").saved["hook_embed"]
        clean = seer.run(given[0], alone, save="hook_embed").saved["hook_embed"]
    assert torch.allclose(edited, shown, atol=1e-5)
    assert (clean - edited).abs().max() > 1e-2


@pytest.mark.parametrize("design", ["within frames", "across frames", "frames"])
def test_tokens_stay_where_a_design_says(seer, design):
    layout = told(seer, noise(8)).layouts[0]
    here = layout.vision(0)
    order = here[PermuteVision(design=design, seed=1).order(layout, 0, 1)]
    assert sorted(order) == sorted(here)
    assert not np.array_equal(order, here)
    same_frame = (layout.frame[order] == layout.frame[here]).all()
    row, column = layout.row, layout.column
    same_place = ((row[order] == row[here]) & (column[order] == column[here])).all()
    assert (same_frame, same_place) == (design == "within frames", design != "within frames")
    if design == "frames":  # a frame's tokens go together
        assert len({*zip(layout.frame[here], layout.frame[order], strict=True)}) == layout.frames()


def test_a_frame_that_is_dropped_is_one_that_nobody_reads(seer):
    given, frame = told(seer, noise(6)), Frame(1)
    clean = seer.run(given).logits[:, -1]
    dropped = seer.run(given, DropTokens(where=vl.Where(positions=frame))).logits[:, -1]
    unread = seer.run(given, KnockOut(where=vl.Where(queries=~frame, keys=frame))).logits[:, -1]
    if not seer.name.startswith("qwen3_5"):  # blocks without attention read it still
        assert torch.allclose(dropped, unread, atol=1e-4)
    assert min((x - clean).abs().max() for x in (dropped, unread)) > 1e-3


def test_a_frame_that_is_dropped_keeps_its_place_in_time(seer):
    given = seer.inputs(asked(noise(6)), videos_kwargs={"do_sample_frames": False})
    drop, back = DropTokens(where=vl.Where(positions=Frame(-1))), PermuteVision(design="backward")
    with pytest.raises(InputError, match="'backward' needs frames whose tokens are left out: "):
        seer.run(given, [back, drop])


def test_pictures_stay_and_what_has_no_frames_is_refused():
    vlm = opened("qwen2_vl")
    both = vlm.inputs(asked(noise(6), images=picture(0, (40, 40))))
    layout, backward = both.layouts[0], PermuteVision(design="backward")
    assert (backward.order(layout, 0, 1) == np.arange(len(layout.vision(0)))).all()
    assert (backward.order(layout, 1, 1) != np.arange(len(layout.vision(1)))).any()
    with pytest.raises(EmptySelectionError, match="there is no video"):
        vlm.run(vlm.inputs(picture(0, (40, 40)), "What?"), backward)
    with pytest.raises(EmptySelectionError, match="nothing to move"):
        vlm.run(vlm.inputs(asked(noise(2))), backward)
    with pytest.raises(InputError, match="fraction is for"):
        vlm.run(vlm.inputs(asked(noise(6))), PermuteVision(design="frames", fraction=0.5))
    ragged = PermuteVision(design="frames", among=~(Frame(0) & Region(0, 0)))
    with pytest.raises(InputError, match="the same places in every frame"):
        vlm.run(vlm.inputs(asked(noise(6))), ragged)


def test_the_time_axis_alone_is_moved():
    vlm = opened("qwen2_5_vl")
    given = told(vlm, noise(6, fps=1))
    moved = MovePositions(to="constant", axis="time").prepare(given).tensors["position_ids"]
    was, own = given.tensors["position_ids"], given.layouts[0].mask("vision")
    assert len(set(was[0, 0, own].tolist())) == given.layouts[0].frames() == 3
    assert len(set(moved[0, 0, own].tolist())) == 1
    assert torch.equal(moved[1:], was[1:])


def test_every_frames_share_is_summed_by_hand(seer):
    run = seer.run(told(seer, noise(6)), save=vl.probes.cmb.NEEDS)
    found = vl.probes.frame_balance(run)
    layout = run.inputs.layouts[0]
    assert found.sizes["frame"] == layout.frames()
    weights = run.saved["blocks.1.attn.hook_pattern"][0, :, -1]
    whole = weights[:, layout.mask("vision", "user")].sum(-1)
    for frame in range(layout.frames()):
        own = weights[:, layout.frame == frame].sum(-1) / whole
        assert np.allclose(found.sel(layer=1, frame=frame)[0], own, atol=1e-6)
    ends = np.array(layout.kind) == "newline"  # of the video, and of no frame
    rest = (weights[:, ends].sum(-1) / weights[:, layout.mask("vision", "user")].sum(-1)).numpy()
    whole = vl.probes.cross_modality_balance(run)
    assert np.allclose(found.sel(layer=1).sum("frame")[0] + rest, whole.sel(layer=1)[0], atol=1e-5)
    counted = ends.sum() / layout.mask("vision", "user").sum()
    assert np.allclose(found.uniform.sum("frame") + counted, whole.uniform)
    times = np.arange(6).reshape(layout.frames(), -1).mean(1) / 2
    assert found.seconds[0].values.tolist() == times.tolist()


def test_a_pass_goes_on_from_where_it_was(seer):
    given = told(seer, noise(6))
    kept = seer.prefill(given)
    edit = ZeroAblate(point="blocks.1.hook_attn_out", where=vl.Where(positions=Frame(1)))
    assert torch.allclose(
        seer.resume(kept, [[edit]]).logits, seer.run(given, edit).logits[:, -1], atol=1e-4
    )
    assert given.layouts[0].sizes[0] == SIZE
