"""RoPE sensitivity: many turns in one pass, text, slopes, bands, queries, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from closeness import assert_close
from hand import rope_of, run_saving

import vlmlens as vl
from vlmlens import probes
from vlmlens.errors import InputError, UnsupportedModelError
from vlmlens.interventions import RotateRope, Scale
from vlmlens.probes import rope

DELTAS = (1.0, -0.5, 0.01)


@pytest.fixture(scope="module")
def turning(vlm, inputs):
    return vlm.run(inputs, save=rope.NEEDS)


def test_many_turns_are_each_of_them(turning):
    found = probes.rope_sensitivity(turning, delta=DELTAS)
    assert found["delta_g_v"].dims == ("delta", "sample", "layer", "head")
    assert found["alpha_v"].dims == ("sample", "layer", "head")
    for delta in DELTAS:
        alone = probes.rope_sensitivity(turning, delta=delta)
        for name in alone:
            own = found[name].sel(delta=delta) if "delta" in found[name].dims else found[name]
            # Sums over keys and planes of weights and scores: of one and more.
            assert_close(own, alone[name], like=np.append(alone[name], 1.0), depth=1)


def test_slopes_are_where_the_turns_tend_to(turning):
    found = probes.rope_sensitivity(turning, delta=(0.01, -0.01))
    middle = found["delta_g_v"].mean("delta")
    np.testing.assert_allclose(found["slope_g_v"], middle, rtol=1e-3, atol=2e-4)
    change = (found["delta_alpha_v"] / found["delta"]).mean("delta")
    np.testing.assert_allclose(found["slope_alpha_v"], change, rtol=1e-2, atol=2e-4)
    assert np.abs(found["slope_alpha_v"]).max() > 1e-4


def test_the_slope_worked_out_on_paper():
    """q = (1, 0), a vision key (0, 1) that turns by w = 2 a step towards (-1, 0): slope -2."""
    keys = torch.tensor([[0.0, 1.0], [0.0, 1.0], [5.0, 5.0]])[None, :, None]
    query = torch.tensor([1.0, 0.0])[None, None, None]
    row = torch.tensor([0.0, 0.0, 5.0]).softmax(-1)[None, None, None]
    tensors = {"attn.hook_rot_q": [query], "attn.hook_rot_k": [keys], "attn.hook_pattern": [row]}
    run = run_saving(["bvu"], tensors, rope=rope_of([2.0]), scaling=1.0)
    found = probes.rope_sensitivity(run)
    assert found["slope_g_v"].item() == pytest.approx(-2.0)
    assert found["slope_alpha_v"].item() == pytest.approx(-0.5)  # alpha 1/2
    assert found["delta_g_v"].item() == pytest.approx(-np.sin(2.0))
    assert found["delta_g_t"].item() == pytest.approx(-np.sin(2.0))  # the start token's key


def test_slopes_bend_with_the_cap_of_the_scores():
    """Scores tanh(s / c) c change by 1 - (score / c)^2 of what s does."""
    cap, turn = 1.5, 0.3
    keys = torch.tensor([[2.0, 0.5], [0.5, 1.0], [-1.0, 2.0]])
    query = torch.tensor([1.0, 0.5])
    row = (torch.tanh(keys @ query / cap) * cap).softmax(-1)
    tensors = {
        "attn.hook_rot_q": [query[None, None, None]],
        "attn.hook_rot_k": [keys[None, :, None]],
        "attn.hook_pattern": [row[None, None, None]],
    }
    run = run_saving(["bvu"], tensors, rope=rope_of([turn]), scaling=1.0, softcap=cap)

    def score(steps):
        c, s = np.cos(turn * steps), np.sin(turn * steps)
        x, y = keys[1].tolist()
        return np.tanh((c * x - s * y + 0.5 * (s * x + c * y)) / cap) * cap

    found = probes.rope_sensitivity(run)
    assert found["slope_g_v"].item() == pytest.approx((score(1e-4) - score(-1e-4)) / 2e-4, rel=1e-4)


def test_exact_identity_and_first_order(turning):
    found = probes.rope_sensitivity(turning, delta=(1.0, -3.0))
    assert_close(found["identity_residual"], 0.0, like=1.0, depth=1)
    assert np.abs(found["eq11_residual"]).max() > 1e-3


def test_all_keys_turned_at_once_is_vision_and_text(turning):
    """To first order alpha' = alpha (1 - alpha) (g_V - g_T): each side moves it its own way."""
    found = probes.rope_sensitivity(turning, delta=0.01)
    spread = found["alpha_v"] * (1 - found["alpha_v"]) * 0.01
    np.testing.assert_allclose(
        found["delta_alpha_v_by_text"], -spread * found["delta_g_t"], atol=1e-4
    )
    back = probes.rope_sensitivity(turning, delta=-0.01)
    middle = (found["delta_alpha_v_by_text"] - back["delta_alpha_v_by_text"]) / 2
    slope = (found["delta_g_t"] + back["delta_g_t"]) / 2
    np.testing.assert_allclose(middle, -spread * slope, rtol=0.02, atol=2e-6)
    assert np.abs(middle).max() > 1e-5


def test_scores_add_up_over_bands_of_frequencies(turning):
    whole = probes.rope_sensitivity(turning)
    found = probes.rope_sensitivity(turning, bands=2)
    assert found["delta_g_v"].dims == ("band", "sample", "layer", "head")
    assert found["alpha_v"].dims == ("sample", "layer", "head")
    for name in ("delta_g_v", "delta_g_t", "slope_g_v"):
        assert_close(found[name].sum("band", skipna=False), whole[name], depth=1)
    fast, slow = (np.abs(found["slope_g_v"].sel(band=band)).mean() for band in (0, 1))
    assert fast > 3 * slow
    both = probes.rope_sensitivity(turning, bands=2, delta=(1.0, 2.0))
    assert both["delta_alpha_v"].dims == ("delta", "band", "sample", "layer", "head")
    with pytest.raises(InputError, match="this rotation has"):
        probes.rope_sensitivity(turning, bands=99)


def test_a_generation_asks_with_every_step(vlm, inputs):
    run = vlm.generate(inputs, save=rope.NEEDS, max_new_tokens=3, stop=False)
    found = probes.rope_sensitivity(run)
    steps = [probes.rope_sensitivity(step) for step in run.steps]
    for name in found:
        mean = np.mean([step[name].values for step in steps], axis=0)
        assert_close(found[name], mean, like=np.append(mean, 1.0), depth=1)
    # Step 0 is the last prompt token; step 1 the first generated token, as in one pass over both.
    longer = vlm.run(inputs.appended(run.tokens[:, :1]), save=rope.NEEDS)
    assert_close(steps[1]["delta_g_v"], probes.rope_sensitivity(longer)["delta_g_v"])


def test_the_papers_query_is_an_end_token(vlm, inputs):
    ended = rope.paper_query(vlm, inputs)
    end = vlm.config.get_text_config().eos_token_id
    assert (ended.tensors["input_ids"][:, -1] == end).all()
    assert ended.layouts[0].roles[-1] == "assistant"


def test_keys_that_are_hidden_do_not_count(vlm, inputs):
    """With the first vision token knocked out for the last query, it turns without effect."""
    own = [int(layout.positions("vision")[0]) for layout in inputs.layouts]
    index = [
        at - int(layout.mask("pad").sum()) for at, layout in zip(own, inputs.layouts, strict=True)
    ]
    cut = vl.interventions.KnockOut(where=vl.Where(queries="last", keys=index[0]))
    run = vlm.run(inputs, [cut], rope.NEEDS)
    found = probes.rope_sensitivity(run)
    row = run.saved.stack(rope.NEEDS[2])[:, 0, :, -1]
    assert (row[..., own[0]] == 0).all()
    past = row[..., :-1] / row[..., :-1].sum(-1, keepdim=True)
    vision = inputs.layouts[0].mask("vision")[:-1]
    assert_close(found["alpha_v"][0], past[..., vision].sum(-1), depth=1)


def test_a_turn_in_the_real_pass_is_what_the_probe_says_of_that_layer(vlm, inputs):
    """Keys of one layer turned in the pass itself: that layer's own row changes as foretold."""
    clean = vlm.run(inputs, save=rope.NEEDS)
    found = probes.rope_sensitivity(clean, delta=2.0, keys="all")
    moved = 0.0
    for layer in range(vlm.layers):
        if not bool((vlm.rope.step[layer] != 0).any()):
            continue
        where = vl.Where(layers=layer, positions="vision")
        turned = vlm.run(inputs, [RotateRope(delta=2.0, of="keys", where=where)], rope.NEEDS[2])
        rows = [run.saved.stack(rope.NEEDS[2])[layer, :, :, -1] for run in (clean, turned)]
        for index, own in enumerate(inputs.layouts):
            before, after = (row[index][:, own.mask("vision")].sum(-1) for row in rows)
            foretold = found["delta_alpha_v"][index, layer]
            assert_close(after - before, foretold, like=1.0)
            moved = max(moved, float((after - before).abs().max()))
    assert moved > 1e-4


def test_scores_that_are_not_q_k_are_refused(vlm, inputs):
    odd = Scale(point="blocks.*.attn.hook_attn_scores", by=0.2)
    with pytest.raises(UnsupportedModelError, match="not softmax"):
        probes.rope_sensitivity(vlm.run(inputs, [odd], rope.NEEDS))


def test_blind_to_which_picture(vlm, inputs):
    """A control: other pixels, other numbers; the identity holds all the same."""
    tensors = dict(inputs.tensors)
    tensors["pixel_values"] = torch.zeros_like(tensors["pixel_values"])
    blind = vlm.run(replace(inputs, tensors=tensors), save=rope.NEEDS)
    seen = vlm.run(inputs, save=rope.NEEDS)
    found = [probes.rope_sensitivity(run) for run in (seen, blind)]
    assert np.abs(found[0]["delta_g_v"] - found[1]["delta_g_v"]).max() > 1e-2
    for each in found:
        assert_close(each["identity_residual"], 0.0, like=1.0, depth=1)
