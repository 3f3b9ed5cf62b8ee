"""Every probe of a run, on a tiny model of every family: shapes, sums and finite numbers."""

import numpy as np
import pytest
from closeness import assert_close
from conftest import EVERY, QUESTIONS, by_turns, picture

import vlmlens as vl
from vlmlens import probes
from vlmlens.probes import embedding, norms, residual, rope, sinks
from vlmlens.zoo.tiny import build


@pytest.fixture(scope="module", params=by_turns(EVERY))
def measured(request):
    """One pass for the attention row, one for the stream; and the lens."""
    with vl.HookedVLM(*build(request.param)) as vlm:
        inputs = vlm.inputs([picture(0), picture(1)], list(QUESTIONS))
        lens = probes.lens_needs(vlm, best=2)
        rows = vlm.run(inputs, save=[*rope.NEEDS, *norms.NEEDS, *embedding.NEEDS, lens])
        stream = [vlm.run(inputs, save=list(module.NEEDS)) for module in (residual, sinks)]
        looks = vlm.run(inputs, save=probes.looks_needs(inputs))
        said = vlm.generate(inputs, save=rope.NEEDS, max_new_tokens=2, stop=False)
        yield vlm, rows, stream, looks, lens, said


def test_where_attention_goes(measured):
    vlm, rows, _, looks, _, said = measured
    for run in (rows, said):
        shares = probes.attention_shares(run)
        # Layers without attention (convolutions, linear attention) have no rows.
        there = [n for n in range(vlm.layers) if f"blocks.{n}.attn.hook_pattern" in vlm.hook_dict]
        assert shares["layer"].values.tolist() == there
        assert_close(shares.sum("role"), 1.0)
        vision, user = (shares.sel(role=role) for role in ("vision", "user"))
        balance = probes.cross_modality_balance(run, steps="sums")
        assert_close(balance, vision / (vision + user), like=1.0)
    atlas = probes.head_atlas(rows)
    maps = probes.image_attention(rows)
    assert_close(atlas["share"], maps.sum(("row", "column")), like=1.0)
    share = probes.patch_looks(looks)["share"]
    assert ((share >= 0) & (share <= 1 + 1e-5)).all()


def test_what_a_turn_does(measured):
    _, rows, _, _, _, said = measured
    for run in (rows, said):
        found = probes.rope_sensitivity(run, delta=(1.0, -0.5))
        assert_close(found["identity_residual"], 0.0, like=1.0, depth=1)
        turning = [n for n in found["layer"].values if bool((rows.rope[int(n)].step != 0).any())]
        if found["alpha_v"].sel(layer=turning).max() > 0:  # some windows hide the whole image
            assert np.abs(found["delta_alpha_v"]).max() > 1e-8
        assert ((found["alpha_v"] >= 0) & (found["alpha_v"] <= 1 + 1e-5)).all()


def test_turns_along_axes_add_up(measured):
    _, rows, *_ = measured
    axes = rows.rope.axes
    whole = probes.rope_sensitivity(rows)["slope_g_v"]
    parts = [probes.rope_sensitivity(rows, axis=axis)["slope_g_v"] for axis in axes]
    # Zero everywhere where the layers that rotate do not see the image; then of the order of 1.
    assert_close(sum(parts), whole, like=1.0)
    if len(axes) > 1:
        assert min(float(np.abs(part).max()) for part in parts) > 1e-4
        small = probes.rope_sensitivity(rows, axis=axes[1], delta=0.01)  # a turn tends to a slope
        np.testing.assert_allclose(small["delta_g_v"], parts[1], atol=2e-2)
        assert np.abs(small["delta_g_v"] - whole).max() > 5e-2
        assert small.attrs["axis"] == axes[1]


def test_the_stream_and_the_lens(measured):
    vlm, rows, (stream, sink), _, lens, _ = measured
    found = probes.residual_stream(stream, roles=("user", "vision"))
    assert not found.drop_vars(["attn_update", "mlp_update"]).to_dataarray().isnull().any()
    missing = [n for n in range(vlm.layers) if f"blocks.{n}.hook_attn_out" not in vlm.hook_dict]
    gone = found["attn_update"].isnull().all(("sample", "role"))
    assert found["layer"].values[gone.values].tolist() == missing
    assert (np.abs(found["cos_next"]) <= 1 + 1e-5).all()
    assert (probes.sink_tokens(sink)["peak"].min() >= 1 - 1e-4).item()
    assert probes.hidden_norms(rows).sizes["depth"] == vlm.layers + 1
    assert (probes.token_norms(rows) > 0).all()
    read = probes.logit_lens(rows, lens).isel(layer=-1)
    for row, own in enumerate(rows.inputs.layouts):
        last = int(np.flatnonzero(~own.mask("pad"))[-1])
        assert read["token"][row, last, 0].item() == rows.logits[row, last].argmax().item()
