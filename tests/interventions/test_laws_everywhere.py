"""What edits promise, on models of different kinds: three axes of RoPE, windows, tiles, depth."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from closeness import assert_apart, assert_close
from conftest import QUESTIONS, build, picture

import vlmlens as vl
from vlmlens.errors import InputError
from vlmlens.interventions import (
    AblateRope,
    KnockOut,
    MovePositions,
    PatchFrom,
    PermuteVision,
    RotateRope,
    Scale,
    Steer,
    ZeroAblate,
)

KINDS = ("llava", "qwen2_5_vl", "qwen3_vl", "gemma3", "llava_next", "idefics3", "aya_vision")


@pytest.fixture(scope="module", params=KINDS)
def vlm(request):
    with vl.HookedVLM(*build(request.param), name=request.param) as model:
        yield model


@pytest.fixture(scope="module")
def inputs(vlm):
    return vlm.inputs([picture(0), picture(1, (90, 40))], list(QUESTIONS))


@pytest.fixture(scope="module")
def others(vlm):
    return vlm.inputs([picture(2), picture(3, (90, 40))], list(QUESTIONS))


@pytest.fixture(scope="module")
def clean(vlm, inputs):
    return vlm.run(inputs).logits


def last(logits):
    return logits[:, -1]


def test_permuting_and_its_inverse_is_nothing(vlm, inputs, clean):
    sizes = {len(layout.vision(0)) for layout in inputs.layouts}
    for row, layout in enumerate(inputs.layouts):
        alone = vlm.inputs([inputs.samples[row]])
        order = np.random.default_rng(0).permutation(len(layout.vision(0)))
        there = PermuteVision(permutation=tuple(order.tolist()))
        back = PermuteVision(permutation=tuple(np.argsort(order).tolist()))
        assert torch.equal(vlm.run(alone, [there, back]).logits, vlm.run(alone).logits)
        assert_apart(vlm.run(alone, [there]).logits, vlm.run(alone).logits)
    assert sizes
    shuffled = vlm.run(inputs, [PermuteVision(seed=1)]).logits
    assert_apart(last(shuffled), last(clean))


def test_what_a_permutation_moves_is_all_of_the_image(vlm, inputs):
    """The same features in another order, at the merge and, where the tower is deep, after it."""
    edit = PermuteVision(seed=4)
    points = ["hook_embed", *(n for n in vlm.hook_dict if "deepstack" in n)]
    before, after = (vlm.run(inputs, e, save=points).saved for e in ([], [edit]))
    orders = [edit.order(lay, 0, key) for lay, key in zip(inputs.layouts, inputs.keys, strict=True)]
    for row, (layout, order) in enumerate(zip(inputs.layouts, orders, strict=True)):
        here = torch.from_numpy(layout.vision(0))
        assert torch.equal(after["hook_embed"][row, here], before["hook_embed"][row, here[order]])
    starts = np.cumsum([0, *(len(order) for order in orders)])
    flat = np.concatenate([s + order for s, order in zip(starts[:-1], orders, strict=True)])
    for name in points[1:]:
        assert torch.equal(after[name], before[name][flat])


def test_turns_add_up_and_turning_everything_is_nothing(vlm, inputs, clean):
    image = vl.Where(positions="vision")
    twice = vlm.run(inputs, [RotateRope(delta=1.5, where=image), RotateRope(delta=2, where=image)])
    once = vlm.run(inputs, [RotateRope(delta=3.5, where=image)])
    assert_close(twice.logits, once.logits)
    assert_close(vlm.run(inputs, [RotateRope(delta=5)]).logits, clean)
    assert_apart(last(once.logits), last(clean))


def test_turning_is_moving_the_ids(vlm, inputs):
    image = vl.Where(positions="vision")
    for axis in (None, *(vlm.rope.axes if len(vlm.rope.axes) > 1 else ())):
        turned = vlm.run(inputs, [RotateRope(delta=2, axis=axis, where=image)]).logits
        moved = vlm.run(inputs, [MovePositions(shift=2, axis=axis, where=image)]).logits
        assert_close(turned, moved)


def test_without_rope_ids_do_not_matter(vlm, inputs):
    bare = vlm.run(inputs, [AblateRope()]).logits
    ids = inputs.tensors["position_ids"]
    elsewhere = replace(inputs, tensors=dict(inputs.tensors) | {"position_ids": ids * 2 + 1})
    assert_close(vlm.run(elsewhere, [AblateRope()]).logits, bare)


@pytest.mark.parametrize("point", ["hook_embed", "blocks.1.hook_resid_pre", "blocks.0.attn.hook_z"])
def test_patches(vlm, inputs, others, point):
    own, other = (vlm.run(given, save=point) for given in (inputs, others))
    assert torch.equal(
        vlm.run(inputs, [PatchFrom(point=point, source=own.saved)]).logits, own.logits
    )
    patched = vlm.run(inputs, [PatchFrom(point=point, source=other.saved)]).logits
    assert_apart(last(patched), last(own.logits))
    deep = vlm.family.deepstack and point == "hook_embed"  # the other image's depth is not patched
    if not point.endswith("hook_z") and not deep:
        assert_close(patched, other.logits)


def test_misaligned_runs_are_refused(vlm, inputs):
    longer = vlm.inputs(
        [picture(0), picture(1)], ["What?", "Is the red square left of it, or not?"]
    )
    source = vlm.run(longer, save="hook_embed").saved
    with pytest.raises(InputError):
        vlm.run(inputs, [PatchFrom(point="hook_embed", source=source)])


@pytest.mark.parametrize(
    "edit",
    [
        ZeroAblate(point="blocks.*.hook_mlp_out", where=vl.Where(positions="user")),
        Scale(point="blocks.0.attn.hook_z", by=0.5, where=vl.Where(heads=1)),
        Steer(point="blocks.1.hook_resid_pre", vector=torch.ones(32), where=vl.Where(positions=-1)),
        KnockOut(where=vl.Where(queries="vision", keys="vision", heads=0)),
    ],
    ids=str,
)
def test_outside_everything_is_bit_for_bit(vlm, inputs, edit):
    name = vlm.matching(list(edit.points))[0]  # later layers see what the first has changed
    before = vlm.run(inputs, save=name).saved[name]
    after = vlm.run(inputs, [edit], save=name).saved[name]
    mask = edit.where.mask(vlm.hook_dict[name].axes, before.shape, inputs.layouts)
    mask = mask.expand(before.shape)
    assert torch.equal(after[~mask], before[~mask])
    assert not torch.equal(after[mask], before[mask])


def test_scaling_the_image_leaves_the_first_attention(vlm, inputs):
    """The first norm takes length away: RMSNorm, and LayerNorm alike."""
    point = "blocks.0.attn.hook_pattern"
    double = Scale(point="hook_embed", by=2.0, where=vl.Where(positions="vision"))
    plain, scaled = (vlm.run(inputs, e, save=point).saved[point] for e in ([], [double]))
    assert_close(scaled, plain)


def test_edits_hold_in_every_step(vlm, inputs):
    edits = [KnockOut(where=vl.Where(keys="vision")), RotateRope(delta=1)]
    said = vlm.generate(inputs, edits, max_new_tokens=3, stop=False)
    assert not (said.tokens == vlm.config.image_token_id).any()
    whole = vlm.run(inputs.appended(said.tokens), edits).logits
    start = len(inputs.layouts[0]) - 1
    for number, step in enumerate(said.steps):
        assert_close(last(step.logits), whole[:, start + number])


@pytest.mark.parametrize("edit", [RotateRope, AblateRope])
def test_a_rotation_where_nothing_rotates_is_refused(vlm, inputs, edit):
    for layer in range(vlm.layers):
        asked = edit(where=vl.Where(layers=layer))
        if vlm.rope.step[layer].any():
            vlm.run(inputs, [asked])
            continue
        with pytest.raises(InputError, match=f"layer {layer} of this model has no RoPE"):
            vlm.run(inputs, [asked])
