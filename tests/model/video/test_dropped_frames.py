"""Videos of which tokens are dropped: frames keep their numbers, for everybody who counts them."""

import numpy as np
import pytest
import torch
from closeness import assert_close
from conftest import by_turns, picture
from films import ALL_PATCHES, ALWAYS, FAMILIES, UNMIXED, asked, films, noise, opened
from standing import all_stands

import vlmlens as vl
from vlmlens.errors import EmptySelectionError
from vlmlens.experiments import causal_effects
from vlmlens.interventions import CompressVision, DropTokens, ZeroAblate
from vlmlens.model.decoding.likelihood import answer_log_probs
from vlmlens.positions import Frame, Row, chosen

CORNER = Frame(0) & Row(0)


@pytest.fixture(scope="module", params=by_turns(FAMILIES, ALWAYS))
def seer(request):
    return opened(request.param)


def told(vlm, videos, **rest):
    patches = ALL_PATCHES.get(vlm.name, {})
    return vlm.inputs(asked(videos, **rest), videos_kwargs={"do_sample_frames": False, **patches})


def drop(positions):
    return DropTokens(where=vl.Where(positions=positions))


def test_what_is_left_keeps_its_number(seer):
    shown = {} if seer.name in UNMIXED else {"images": picture(0, (40, 40))}
    all_stands(seer, told(seer, films(seer, 6), **shown))


@pytest.mark.parametrize("frame", [Frame(-1), Frame(0.5), Frame(0)], ids=str)
def test_edits_behind_it_mean_the_frames_they_name(seer, frame):
    given = told(seer, noise(6))
    gone = chosen(given.layouts[0], CORNER)
    zero = ZeroAblate("hook_embed", vl.Where(positions=frame))
    clean, edited = (
        seer.run(given, [drop(CORNER), *edits], save="hook_embed").saved["hook_embed"][0]
        for edits in ([], [zero])
    )
    hit = (clean != edited).any(-1).numpy()
    assert np.array_equal(hit, frame.of(given.layouts[0]) & ~gone)
    with pytest.raises(EmptySelectionError):
        seer.run(given, [drop(frame), zero])


@pytest.mark.parametrize("gone", [CORNER, Frame(0), Frame(1), Frame(-1)], ids=str)
def test_the_frames_that_are_left_are_measured_under_their_numbers(seer, gone):
    given = told(seer, noise(6))
    run = seer.run(given, drop(gone), save=vl.probes.cmb.NEEDS)
    found, layout = vl.probes.frame_balance(run), run.inputs.layouts[0]
    clean = vl.probes.frame_balance(seer.run(given, save=vl.probes.cmb.NEEDS))
    assert found.frame.values.tolist() == clean.frame.values.tolist()
    assert found.seconds.values.tolist() == clean.seconds.values.tolist()
    weights = run.saved["blocks.1.attn.hook_pattern"][0, :, -1]
    counted = torch.from_numpy(layout.mask("vision", "user"))
    for number in range(found.sizes["frame"]):
        own = torch.from_numpy((layout.frame == number) & ~layout.mask("pad"))
        share = weights[:, own].sum(-1) / weights[:, counted].sum(-1)
        share = share if own.any() else torch.full_like(share, torch.nan)
        even = own.sum() / counted.sum() if own.any() else np.nan
        here = found.sel(frame=number)
        assert_close(here.sel(layer=1)[0], share, like=1.0)
        np.testing.assert_allclose(here.uniform[0], even, rtol=1e-6)


def test_answers_without_a_frame_are_as_likely_as_plain_transformers_says(seer):
    """The mask alone hides the frame from the whole model's pass over prompt and answer."""
    samples = [asked(noise(4, seed=n), answer="red", id=str(n)) for n in range(2)]
    options = {"videos_kwargs": {"do_sample_frames": False}}
    for gone in (Frame(0), CORNER, "vision"):
        answered = seer.inputs(samples, answers=["red", "blue"], **options)
        said = seer.generate(
            seer.inputs(samples, **options), drop(gone), max_new_tokens=1, answered=[answered]
        )
        tensors = dict(answered.tensors)
        tensors["attention_mask"] = tensors["attention_mask"].clone()
        for row, layout in enumerate(answered.layouts):
            tensors["attention_mask"][row, torch.from_numpy(chosen(layout, gone))] = 0
        with torch.no_grad():
            logits = seer.hf_model(**tensors).logits
        expected = answer_log_probs(logits, tensors["input_ids"], answered.layouts)
        assert_close(said.scores.log_probs[0], expected)
        assert not any(
            "continuation" in why or "reach" in why for why in said.scores.whole.values()
        )


def test_effects_of_frames_that_are_left_out():
    vlm = opened("qwen2_5_vl")
    samples = [asked(noise(4, seed=n), answer="red", id=str(n)) for n in range(3)]
    edits = {"first": [drop(Frame(0))], "last": [drop(Frame(-1))]}
    found = causal_effects(vlm, samples, edits, progress=False)
    falls = found["log_prob_drop"].sel(intervention=list(edits))
    assert bool((falls != 0).all())


def test_places_that_a_processor_left_out_do_not_move_the_others():
    """Of the second frame two tokens are kept: they are pooled on the grid of the whole video."""
    vlm = opened("video_llama_3")
    first = np.random.default_rng(0).integers(0, 256, (48, 72, 3), dtype=np.uint8)
    second = first.copy()
    for column in (2, 4):
        second[8:16, column * 8 : (column + 1) * 8] ^= 255
    given = vlm.inputs(asked(vl.Video([first, second], fps=1)))
    layout = given.layouts[0]
    own = layout.vision(0, 1)
    assert layout.grid() == (6, 9) and layout.column[own].tolist() == [2, 4]
    before, after = (
        vlm.run(given, edits, save="hook_embed").saved["hook_embed"][0, torch.from_numpy(own)]
        for edits in ([], CompressVision(rows=3, columns=3, repeat=True))
    )
    assert torch.equal(before, after)  # columns 0 to 2, and 3 to 5
    pooled = CompressVision(rows=1, columns=2, repeat=True)
    after = vlm.run(given, pooled, save="hook_embed").saved["hook_embed"][0, torch.from_numpy(own)]
    assert_close(after, before.mean(0).expand(2, -1))  # columns 0 to 4
