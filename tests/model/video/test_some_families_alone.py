"""What one family's videos have and no other's."""

import numpy as np
import pytest
import torch
import transformers
from conftest import build, picture
from films import SIZE, asked, grey, noise, opened, painted, silenced
from PIL import ImageFont

import vlmlens as vl
from vlmlens.errors import (
    InputError,
    UnreachedPointError,
    UnsupportedModelError,
    VLMLensError,
)
from vlmlens.interventions import PermuteVision, ZeroAblate
from vlmlens.probes.grids import on_grid, patches


@pytest.mark.slow
def test_what_resembles_the_frame_before_is_left_out_and_the_layout_says_so():
    """VideoLLaMA 3: what is left are a frame's tokens that differ from those before it."""
    vlm = opened("video_llama_3")
    every = {"use_token_compression": False}
    whole = vlm.inputs(asked(vl.Video(grey(3), 2)), videos_kwargs=every).layouts[0]
    token = whole.vision(0, 1)[7]
    frames = painted(3, 1, whole.box[token])
    sample = asked(vl.Video(frames, 2))
    given, full = vlm.inputs(sample), vlm.inputs(sample, videos_kwargs=every)
    layout, there = given.layouts[0], full.layouts[0]
    rows, columns = layout.grid()
    assert (rows, columns) == there.grid() == (6, 9)
    place = (int(whole.row[token]), int(whole.column[token]))
    seen = [
        [*zip(layout.row[own].tolist(), layout.column[own].tolist(), strict=True)]
        for own in (layout.vision(0, frame) for frame in range(3))
    ]
    assert seen == [[*np.ndindex(rows, columns)], [place], [place]]
    assert {layout.grid(0, frame) for frame in range(3)} == {(rows, columns)}
    assert layout.seen(0) == 1
    both = [vlm.run(each, save="hook_embed").saved["hook_embed"][0] for each in (given, full)]
    keys = ("frame", "row", "column")
    index = {tuple(getattr(there, k)[n] for k in keys): n for n in there.vision(0)}
    for at in layout.vision(0):
        other = index[tuple(getattr(layout, k)[at] for k in keys)]
        assert torch.equal(both[0][at], both[1][other])
        assert np.array_equal(layout.box[at], there.box[other])
    with pytest.raises(InputError, match="the same places in every frame"):
        vlm.run(given, PermuteVision(design="backward"))
    for call in (lambda: on_grid(layout, np.zeros(1), tile=1), lambda: patches(layout, tile=1)):
        with pytest.raises(InputError, match="so they make no grid"):
            call()
    unchanged = vlm.inputs(asked(vl.Video(grey(3), 2))).layouts[0]  # a token of every frame stays
    assert [unchanged.row[unchanged.vision(0, n)].tolist() for n in (1, 2)] == [[0], [0]]


@pytest.mark.slow
def test_a_tower_of_videos_that_is_not_watched_is_said():
    vlm = opened("video_llava")
    film, still = noise(2), picture(0, (40, 40))
    said = r"videos of video_llava go through a tower of their own, model\.video_tower"
    cut = ZeroAblate(point="vision.blocks.0.hook_attn_out")
    with pytest.raises(UnreachedPointError, match=said):
        vlm.run(vlm.inputs(asked(film)), save="vision.blocks.0.hook_resid_post")
    with pytest.raises(UnreachedPointError, match=said):
        vlm.run(vlm.inputs(asked(film)), cut)
    both = vlm.inputs(asked(film, images=still))
    with pytest.raises(InputError, match=f"only pictures pass it.*{said}"):
        vlm.run(both, cut)
    name = "vision.blocks.0.hook_resid_post"
    ours = vlm.run(both, save=name).saved[name]
    alone = vlm.run(vlm.inputs(still, "What?"), save=name).saved[name]
    assert torch.equal(ours, alone)
    saved = vlm.run(vlm.inputs(asked(film)), save="projector.hook_out").saved
    assert saved["projector.hook_out"].shape[:2] == (2, 17)


@pytest.mark.slow
def test_a_frames_first_token_that_is_no_patch_is_of_the_frame():
    layout = opened("video_llava").inputs(asked(noise(3))).layouts[0]
    for frame in range(3):
        own = np.flatnonzero(layout.frame == frame)
        assert [layout.kind[at] for at in own] == ["register", *["patch"] * 16]
        assert layout.row[own[0]] == layout.column[own[0]] == -1
        assert np.isnan(layout.box[own[0]]).all()
        assert (layout.seconds[own] == frame / 2).all()
        assert {layout.roles[at] for at in own} == {"vision"}


@pytest.mark.slow
def test_a_number_of_frames_that_a_rate_cuts_short_is_refused():
    vlm, film = opened("molmo2"), noise(24, size=(32, 32), fps=8)
    with pytest.raises(InputError, match=r"chooses 6 of 24 frames, at most max_fps=2 a second"):
        vlm.inputs(asked(film), videos_kwargs={"num_frames": 12})
    more = vlm.inputs(asked(film), videos_kwargs={"num_frames": 12, "max_fps": 8})
    assert more.layouts[0].frames() == 12


@pytest.mark.slow
def test_a_pool_with_fewer_patches_covers_less_of_the_frame():
    """Molmo 2: of five patches along a side the first pool has three, and the last one two."""
    vlm = opened("molmo2")
    wide = vl.Sample("What?", videos=vl.Video(grey(2), 2))
    layout = vlm.inputs(wide).layouts[0]
    first, last = (layout.box[layout.vision(0, 1)[at]].tolist() for at in (0, -1))
    assert first == pytest.approx([0, 0, 43.2, 28.8])
    assert last == pytest.approx([43.2, 28.8, 72, 48])
    inside = vl.Sample("What?", videos=vl.Video(painted(2, 1, (30, 10, 46, 26)), 2))  # x to 41
    with silenced(vlm) as edits:
        before, after = (
            vlm.run(vlm.inputs(each), edits, save="hook_embed").saved["hook_embed"][0]
            for each in (wide, inside)
        )
    changed = np.flatnonzero((before != after).any(-1).numpy())
    assert changed.tolist() == [layout.vision(0, 1)[0]]


@pytest.mark.slow
def test_times_are_drawn_into_frames_with_the_font_of_the_checkpoint(tmp_path):
    model, processor = build("ernie4_5_vl_moe")
    font = tmp_path / "a.ttf"
    font.write_bytes(ImageFont.load_default(10).path.getvalue())
    with vl.HookedVLM(model, processor) as vlm:
        plain = vlm.inputs(asked(vl.Video(grey(4), 2)))
        taker = processor.video_processor
        taker.font, taker.draw_on_frames = str(font), True
        drawn = vlm.inputs(asked(vl.Video(grey(4), 2)))
        assert drawn.layouts[0].sizes == (SIZE,)
        change = [each.tensors["pixel_values_videos"] for each in (plain, drawn)]
        assert not torch.equal(*change)
        frames = (change[1] - change[0]).abs().amax(1).view(4, -1)
        assert (frames.amax(1) > 0.1).all()
        assert not torch.equal(frames[0], frames[3])  # another time
        found = vlm.audit().invariants[-1]
        assert found.name.startswith("a video")
        assert found.difference == 0
        with pytest.raises(VLMLensError, match="drawn with"):
            vlm.inputs(asked(noise(4)), videos_kwargs={"font": "other.ttf"})


@pytest.mark.slow
def test_a_version_that_cannot_run_videos_is_said(monkeypatch):
    """Until 5.22 Gemma 4's forward pass forgot how many frames a video has."""
    vlm = opened("gemma4")
    monkeypatch.setattr(transformers, "__version__", "5.22.4")
    with pytest.raises(UnsupportedModelError, match=r"5\.22\.4 cannot run videos of gemma4.*5\.23"):
        vlm.inputs(asked(noise(2)))
    found = vlm.audit().invariants[-1]
    assert found.note.startswith("does not apply: transformers 5.22.4 cannot run videos")
    monkeypatch.setattr(transformers, "__version__", "5.100.0")
    assert vlm.inputs(asked(noise(2))).layouts[0].frames() == 2
