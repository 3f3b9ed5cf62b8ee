"""Activations replaced: by means, by other samples', by other runs'; steered; patterns set."""

from dataclasses import replace

import pytest
import torch
from closeness import assert_apart, assert_close
from conftest import QUESTIONS, picture
from hypothesis import given
from hypothesis import strategies as st

import vlmlens as vl
from vlmlens.errors import InputError, UnknownPointError
from vlmlens.interventions import (
    KnockOut,
    MeanAblate,
    PatchFrom,
    ResampleAblate,
    Scale,
    ScaleAttention,
    SetPattern,
    Steer,
    Stored,
    mean_activation,
)
from vlmlens.positions import Region, Role

MID = "blocks.1.hook_resid_pre"
HEADS = "blocks.0.attn.hook_z"
PATTERN = "blocks.0.attn.hook_pattern"
POINTS = st.sampled_from(
    [
        "hook_embed",
        "blocks.*.hook_resid_mid",
        "blocks.1.attn.hook_rot_k",
        "blocks.0.attn.hook_z",
        "blocks.*.attn.hook_v",
        "projector.hook_out",
    ]
)


@pytest.fixture(scope="module")
def others(vlm):
    """Aligned with ``inputs``: the same questions about other pictures."""
    return vlm.inputs([picture(7), picture(8)], list(QUESTIONS), system="Answer in a word or two.")


# Patching.


@given(point=POINTS, samples=st.sampled_from([None, 0, 1]))
def test_a_patch_from_the_same_run_is_nothing(vlm, inputs, point, samples):
    source = vlm.run(inputs, save=point)
    patch = PatchFrom(point=point, source=source.saved, where=vl.Where(samples=samples))
    assert torch.equal(vlm.run(inputs, [patch]).logits, source.logits)


@given(samples=st.sampled_from([None, 0, 1]))
def test_a_patch_of_everything_is_the_other_run(vlm, inputs, others, samples):
    source = vlm.run(others, save="hook_embed")
    clean = vlm.run(inputs).logits
    patch = PatchFrom(point="hook_embed", source=source.saved, where=vl.Where(samples=samples))
    found = vlm.run(inputs, [patch]).logits
    for row in range(2):
        meant = source.logits if samples in (None, row) else clean
        assert torch.equal(found[row], meant[row])
    assert_apart(source.logits, clean)


def test_a_patched_image_stays_patched_while_decoding(vlm, inputs, others):
    """The other image's keys and values are the other image, as far as later tokens can tell."""
    points = ("blocks.*.attn.hook_rot_k", "blocks.*.attn.hook_v")
    saved = vlm.run(others, save=points).saved
    patches = [PatchFrom(point=point, source=saved) for point in points]
    told = vlm.generate(inputs, patches, max_new_tokens=3, stop=False)
    other = vlm.generate(others, max_new_tokens=3, stop=False)
    for mine, theirs in zip(told.steps[1:], other.steps[1:], strict=True):
        if torch.equal(told.tokens, other.tokens):
            assert_close(mine.logits, theirs.logits)
    assert torch.equal(told.tokens, other.tokens)


def test_prompts_and_grids_that_do_not_align(vlm, inputs):
    one = vlm.inputs([picture(7)], [QUESTIONS[0]])
    saved = vlm.run(one, save="hook_embed").saved
    layout = one.layouts[0]
    wider = replace(layout, row=layout.row // 2, column=layout.column + 2 * (layout.row % 2))
    named = vl.ActivationCache(dict(saved), saved.axes, [replace(layout, roles=layout.roles[::-1])])
    with pytest.raises(InputError, match="position 0 of sample 0 is bos here and template in the"):
        vlm.run(one, [PatchFrom(point="hook_embed", source=named)])
    crooked = vl.ActivationCache(dict(saved), saved.axes, [wider])
    with pytest.raises(InputError, match="image 0 of sample 0 has the grid"):
        vlm.run(one, [PatchFrom(point="hook_embed", source=crooked)])
    with pytest.raises(InputError, match="same prompt length"):
        vlm.run(inputs, [PatchFrom(point="hook_embed", source=saved)])


# Means and samples.


def test_the_mean_is_over_what_was_chosen(vlm, inputs, others):
    saved = vlm.run(others, save=[MID, HEADS]).saved
    vision = [torch.from_numpy(layout.mask("vision")) for layout in others.layouts]
    for point in (MID, HEADS):
        x = torch.cat([saved[point][row, mask] for row, mask in enumerate(vision)])
        assert_close(mean_activation(saved, point, "vision"), x.mean(0))
        edit = MeanAblate(point=point, where=vl.Where(positions="vision"), source=saved)
        after = vlm.run(inputs, [edit], save=point).saved[point]
        for row, layout in enumerate(inputs.layouts):
            here = torch.from_numpy(layout.mask("vision"))
            assert_close(after[row, here], x.mean(0).expand_as(after[row, here]))
    own = [torch.from_numpy(~layout.mask("pad")) for layout in others.layouts]
    x = torch.cat([saved[MID][row, mask] for row, mask in enumerate(own)])
    assert_close(mean_activation(saved, MID), x.mean(0))
    # over= asks for other positions than those that are edited
    last = MeanAblate(point=MID, where=vl.Where(positions="last"), source=saved, over="vision")
    after = vlm.run(inputs, [last], save=MID).saved[MID]
    assert_close(after[0, -1], mean_activation(saved, MID, "vision"))


def test_means_that_cannot_be_taken(vlm, inputs):
    saved = vlm.run(inputs, save=[PATTERN, "projector.hook_out"]).saved
    assert mean_activation(saved, "projector.hook_out").ndim == 1
    with pytest.raises(InputError, match="no positions to average over"):
        vlm.run(inputs, [MeanAblate(point=PATTERN, source=saved)])
    rows = vlm.run(inputs, save=vl.Save(MID, rows="last")).saved
    with pytest.raises(InputError, match="save it whole"):
        vlm.run(inputs, [MeanAblate(point=MID, source=rows)])
    with pytest.raises(InputError, match=r"source=run\.saved"):
        vlm.run(inputs, [MeanAblate(point=MID)])
    with pytest.raises(UnknownPointError):
        vlm.run(inputs, [MeanAblate(point=MID, source=saved)])


def test_a_resampled_activation_is_some_other_samples(vlm):
    question = QUESTIONS[0]
    samples = [vl.Sample(question, (picture(n),), id=f"{n}") for n in range(4)]
    pool = vlm.inputs([vl.Sample(question, (picture(n),), id=f"pool {n}") for n in range(20, 26)])
    saved = vlm.run(pool, save=MID).saved
    together = vlm.inputs(samples)
    found = {}
    for seed in (0, 1):
        edit = ResampleAblate(point=MID, source=saved, seed=seed)
        x = vlm.run(together, [edit], save=MID).saved[MID]
        same = (x[:, None] == saved[MID][None]).all(-1).all(-1)
        assert (same.sum(1) == 1).all()
        found[seed] = same.float().argmax(1).tolist()
        assert len(set(found[seed])) > 1  # each sample draws for itself
        alone = vlm.run(vlm.inputs(samples[2]), [edit], save=MID).saved[MID]
        assert torch.equal(alone[0], x[2])
    assert found[0] != found[1]


# Steering.


def test_steering_adds_what_it_says(vlm, inputs):
    width = vlm.config.get_text_config().hidden_size
    vector = torch.linspace(-1, 1, width)
    steer = Steer(point=MID, where=vl.Where(positions=Region(0)), vector=vector, by=-2.0)
    before, after = (vlm.run(inputs, e, save=MID).saved[MID] for e in ([], [steer]))
    for row, layout in enumerate(inputs.layouts):
        here = layout.vision(0)
        top = torch.from_numpy(here[layout.row[here] == 0])
        assert torch.equal(after[row, top], before[row, top] - 2.0 * vector)
    back = Steer(point=MID, where=vl.Where(positions=Region(0)), vector=Stored(vector), by=2.0)
    assert_close(vlm.run(inputs, [steer, back]).logits, vlm.run(inputs).logits)
    with pytest.raises(InputError, match="lies along its last axes"):
        vlm.run(inputs, [Steer(point=MID, vector=torch.ones(3))])


# Attention.


def test_scaled_scores_are_scaled_before_the_softmax(vlm, inputs):
    scores = "blocks.0.attn.hook_attn_scores"
    where = vl.Where(layers=0, heads=1, queries="last", keys="vision")
    x = vlm.run(inputs, save=scores).saved[scores][:, 1, -1]
    found = vlm.run(inputs, [ScaleAttention(where=where, by=2)], save=PATTERN).saved[PATTERN]
    vision = torch.stack([torch.from_numpy(lay.mask("vision")) for lay in inputs.layouts])
    assert_close(found[:, 1, -1], torch.where(vision, 2 * x, x).softmax(-1))
    clean = vlm.run(inputs, save=PATTERN).saved[PATTERN]
    assert_close(found[:, 1, :-1], clean[:, 1, :-1])
    with pytest.raises(InputError, match="above 0"):
        vlm.run(inputs, [ScaleAttention(by=0.0)])


def test_patterns_by_name(vlm, inputs):
    def made(to, **where):
        edit = SetPattern(to=to, where=vl.Where(layers=0, **where))
        return vlm.run(inputs, [edit], save=PATTERN).saved[PATTERN]

    clean = vlm.run(inputs, save=PATTERN).saved[PATTERN]
    long = next(r for r, lay in enumerate(inputs.layouts) if "pad" not in lay.roles)
    size = clean.shape[-1]
    causal = torch.ones(size, size).tril()
    assert_close(made("uniform")[long, 0], causal / causal.sum(-1, keepdim=True))
    assert torch.equal(made("self")[long, 0], torch.eye(size))
    first = torch.zeros(size, size)
    first[:, 0] = 1
    assert torch.equal(made("first")[long, 0], first)
    short = 1 - long
    pads = inputs.layouts[short].roles.count("pad")
    assert (made("first")[short, :, pads:, pads] == 1).all()
    assert (made("first")[short, :, :pads, pads] == 0).all()  # padding does not see what comes
    some = made("uniform", heads=1, queries=Role("user"))
    user = torch.from_numpy(inputs.layouts[long].mask("user"))
    assert torch.equal(some[long, 0], clean[long, 0])
    assert torch.equal(some[long, 1, ~user], clean[long, 1, ~user])
    assert_close(some[long, 1, user], (causal / causal.sum(-1, keepdim=True))[user])


def test_a_pattern_by_hand_is_that_of_a_patch(vlm, inputs, others):
    source = vlm.run(others, save=PATTERN).saved
    patched = vlm.run(inputs, [PatchFrom(point=PATTERN, source=source)]).logits
    seen = source[PATTERN] + (source[PATTERN].sum(-1, keepdim=True) == 0) * torch.eye(
        source[PATTERN].shape[-1]
    )  # rows of padding see nothing, and sum to nothing
    where = vl.Where(layers=0, queries=~Role("pad"))
    byhand = vlm.run(inputs, [SetPattern(to=seen, where=where)]).logits
    own = torch.from_numpy(~inputs.layouts[0].mask("pad"))
    assert_close(byhand[0, own], patched[0, own])


def test_patterns_that_are_none(vlm, inputs):
    size = len(inputs.layouts[0])
    row = vl.Where(queries=0)
    with pytest.raises(InputError, match="do not sum to 1"):
        vlm.run(inputs, [SetPattern(to=torch.ones(size, size), where=row)])
    with pytest.raises(InputError, match="keys that their query does not see"):
        vlm.run(inputs, [SetPattern(to=torch.eye(size).flip(0), where=row)])
    with pytest.raises(InputError, match=r"leave where\.keys out"):
        vlm.run(inputs, [SetPattern(where=vl.Where(keys="vision"))])
    with pytest.raises(InputError, match="there is: uniform"):
        SetPattern(to="diagonal")


# Steps and samples.


def test_edits_may_be_for_some_steps_only(vlm, inputs):
    def told(steps, **where):
        edit = Scale(point="blocks.0.hook_mlp_out", by=3.0, where=vl.Where(steps=steps, **where))
        return [s.logits for s in vlm.generate(inputs, [edit], max_new_tokens=3, stop=False).steps]

    clean = [s.logits for s in vlm.generate(inputs, max_new_tokens=3, stop=False).steps]
    decode = told("decode")
    assert torch.equal(decode[0], clean[0])
    assert_apart(decode[1], clean[1])
    assert_apart(told("prefill")[0], clean[0])
    late = told(2)
    assert torch.equal(late[1], clean[1])
    assert_apart(late[2], clean[2])
    answer = told("decode", positions="answer")
    assert torch.equal(answer[1], decode[1])


def test_steps_that_never_come(vlm, inputs):
    edit = Scale(point="hook_embed", by=2.0, where=vl.Where(steps=5))
    with pytest.raises(InputError, match="there are 3, from 0"):
        vlm.generate(inputs, [edit], max_new_tokens=3)
    with pytest.raises(InputError, match="is the prefill, step 0"):
        vlm.run(inputs, [Scale(point="hook_embed", where=vl.Where(steps="decode"))])


@given(sample=st.integers(0, 1), by=st.sampled_from([0.5, 3.0]))
def test_samples_that_are_not_meant_stay_as_they_are(vlm, inputs, sample, by):
    edit = Scale(point="projector.hook_out", by=by, where=vl.Where(samples=sample))
    found, clean = vlm.run(inputs, [edit]).logits, vlm.run(inputs).logits
    assert torch.equal(found[1 - sample], clean[1 - sample])
    assert_apart(found[sample], clean[sample])


@given(
    point=st.sampled_from(
        ["hook_embed", "blocks.0.hook_mlp_out", "blocks.1.attn.hook_z", "blocks.0.attn.hook_q"]
    ),
    positions=st.sampled_from(
        ["vision", "last", Region(0), ~Region(columns=0), Role("user") | Region(1, 1), (0, -2)]
    ),
    samples=st.sampled_from([None, 0, 1]),
    heads=st.sampled_from([None, 0, (1, 2)]),
)
def test_what_is_outside_stays_bit_for_bit(vlm, inputs, point, positions, samples, heads):
    heads = heads if "attn" in point else None
    where = vl.Where(positions=positions, samples=samples, heads=heads)
    before = vlm.run(inputs, save=point).saved
    after = vlm.run(inputs, [Scale(point=point, where=where, by=3.0)], save=point).saved
    x, y = before[point], after[point]
    mask = where.mask(before.axes[point], x.shape, inputs.layouts).expand_as(x)
    assert torch.equal(y[~mask], x[~mask])
    assert torch.equal(y[mask], x[mask] * 3.0)


def test_rows_are_saved_of_any_selection(vlm, inputs):
    whole = vlm.run(inputs, save=[PATTERN, MID]).saved
    saves = [vl.Save(point, rows=Region(0) & ~Region(columns=0)) for point in (PATTERN, MID)]
    rows = vlm.run(inputs, save=saves).saved
    for sample, layout in enumerate(inputs.layouts):
        here = layout.vision(0)
        meant = torch.from_numpy(here[(layout.row[here] == 0) & (layout.column[here] > 0)])
        assert_close(rows[PATTERN][sample], whole[PATTERN][sample, :, meant])
        assert torch.equal(rows[MID][sample], whole[MID][sample, meant])


def test_cells_are_chosen_at_the_projector_too(vlm, inputs):
    where = vl.Where(positions=Region(rows=0), samples=1)
    late, early = (
        vlm.run(inputs, [Scale(point=point, by=0.1, where=where)]).logits
        for point in ("hook_embed", "projector.hook_out")
    )
    assert torch.equal(late, early)


@given(
    by=st.sampled_from([0.01, 0.5, 4.0, 50.0]),
)
def test_the_first_pattern_does_not_see_how_long_vision_tokens_are(vlm, inputs, by):
    """Block 0 begins with an RMSNorm, which takes the scale away (up to its epsilon)."""
    louder = Scale(point="hook_embed", where=vl.Where(positions="vision"), by=by)
    before, after = (vlm.run(inputs, e, save=PATTERN).saved[PATTERN] for e in ([], [louder]))
    torch.testing.assert_close(after, before, rtol=2e-2, atol=2e-3 if by < 1 else 1e-4)


def test_a_sweeps_baseline_is_plain_transformers(vlm, inputs):
    """Image and all: the tower's output is in it, bit for bit."""
    ours = vlm.run(inputs, ()).logits
    hf = vlm.hf_model
    vlm.close()
    try:
        theirs = hf(**inputs.tensors).logits
        blind = {k: v for k, v in inputs.tensors.items() if k != "pixel_values"}
        assert torch.equal(ours, theirs)
        assert_apart(hf(**blind).logits, theirs)
    finally:
        vlm.__init__(hf, vlm.processor)
    assert torch.equal(
        vlm.run(inputs, [KnockOut(where=vl.Where(keys="vision"))][:0]).logits, theirs
    )
