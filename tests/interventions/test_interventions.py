"""What each intervention does, and what it must leave alone."""

import numpy as np
import pytest
import torch
from closeness import assert_apart, assert_close
from conftest import QUESTIONS, picture

import vlmlens as vl
from vlmlens.errors import EmptySelectionError, InputError, UnknownPointError
from vlmlens.experiments import sweep
from vlmlens.interventions import (
    KnockOut,
    PatchFrom,
    PermuteVision,
    Scale,
    Site,
    ZeroAblate,
)
from vlmlens.model.passes.edits import depth, edited_points
from vlmlens.select import Where

PATTERN = "blocks.*.attn.hook_pattern"


def vision_of(inputs, row=0):
    return torch.from_numpy(inputs.layouts[row].vision(0))


def drawn(size, seed=0):
    return tuple(int(i) for i in np.random.default_rng(seed).permutation(size))


def samples():
    return [
        vl.Sample(question, (picture(n),), id=f"sample {n}")
        for n, question in enumerate((*QUESTIONS, "Where?"))
    ]


# PermuteVision.


def test_a_permutation_and_its_inverse_are_nothing(vlm, inputs):
    order = drawn(len(vision_of(inputs)))
    inverse = tuple(int(i) for i in np.argsort(order))
    both = [PermuteVision(permutation=order), PermuteVision(permutation=inverse)]
    clean = vlm.run(inputs).logits
    assert torch.equal(vlm.run(inputs, both).logits, clean)
    assert_apart(vlm.run(inputs, both[:1]).logits, clean)
    same = PermuteVision(permutation=tuple(range(len(order))))
    assert torch.equal(vlm.run(inputs, [same]).logits, clean)


def test_token_j_becomes_what_token_permutation_j_was(vlm, inputs):
    order = drawn(len(vision_of(inputs)))
    before = vlm.run(inputs, save="hook_embed").saved["hook_embed"]
    shuffle = PermuteVision(permutation=order)
    after = vlm.run(inputs, [shuffle], save="hook_embed").saved["hook_embed"]
    for row, layout in enumerate(inputs.layouts):
        here, rest = vision_of(inputs, row), torch.from_numpy(~layout.mask("vision"))
        assert torch.equal(after[row, here], before[row, here][list(order)])
        assert torch.equal(after[row, rest], before[row, rest])


def by_hand(vlm, order):
    """The projector's output permuted by a torch hook, and vlmlens not asked."""
    projector = vlm.hf_model.get_submodule(vlm.family.projector)
    return projector.register_forward_hook(lambda module, args, output: output[:, list(order)])


def test_it_is_the_permuted_output_of_the_projector(vlm, inputs):
    order = drawn(len(vision_of(inputs)))
    ours = vlm.run(inputs, [PermuteVision(permutation=order)]).logits
    handle = by_hand(vlm, order)
    try:
        assert torch.equal(vlm.run(inputs).logits, ours)
    finally:
        handle.remove()


def test_generation_goes_on_from_the_permuted_image(vlm, inputs):
    order = drawn(len(vision_of(inputs)))
    ours = vlm.generate(inputs, [PermuteVision(permutation=order)], max_new_tokens=4, stop=False)
    clean = vlm.generate(inputs, max_new_tokens=4, stop=False)
    tensors = {k: v for k, v in inputs.tensors.items() if k != "position_ids"}
    handle = by_hand(vlm, order)
    try:
        theirs = vlm.hf_model.generate(
            **tensors,
            max_new_tokens=4,
            min_new_tokens=4,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
    finally:
        handle.remove()
    assert torch.equal(ours.tokens, theirs.sequences[:, -4:])
    for step, logits in zip(ours.steps, theirs.logits, strict=True):
        assert_close(step.logits[:, -1], logits)
    assert_apart(ours.steps[-1].logits, clean.steps[-1].logits)


def permutation_of(vlm, inputs, shuffle, row):
    """Which token each token of a sample became."""
    layout = inputs.layouts[row]
    width = vlm.config.get_text_config().hidden_size
    x = torch.arange(len(layout), dtype=torch.float)[None, :, None].expand(len(inputs), -1, width)
    site = Site("hook_embed", ("batch", "pos", "d_model"), None, inputs.layouts, inputs.keys)
    here = layout.vision(0)
    return (shuffle.apply(x, site)[row, here, 0].long() - here[0]).tolist()


def test_a_samples_permutation_is_its_own_whatever_the_batch(vlm):
    one, two, three = samples()
    shuffle = PermuteVision(seed=3)
    together = vlm.inputs([one, two, three])
    mine = [permutation_of(vlm, together, shuffle, row) for row in range(3)]
    size = len(vision_of(together))
    assert all(sorted(order) == list(range(size)) for order in mine)
    assert mine[0] != mine[1] != mine[2]  # one draw a sample
    turned = vlm.inputs([three, one])
    assert permutation_of(vlm, turned, shuffle, 0) == mine[2]
    assert permutation_of(vlm, turned, shuffle, 1) == mine[0]
    assert permutation_of(vlm, vlm.inputs([two]), shuffle, 0) == mine[1]
    other = PermuteVision(seed=4)
    assert permutation_of(vlm, together, other, 0) != mine[0]
    assert permutation_of(vlm, together, PermuteVision(seed=3), 0) == mine[0]


def test_two_images_of_a_sample_are_shuffled_each_in_itself(vlm):
    both = vlm.inputs([[picture(0), picture(1)]], ["This or that?"])
    layout = both.layouts[0]
    saved = [
        vlm.run(both, edits, save="hook_embed").saved["hook_embed"][0]
        for edits in ([], [PermuteVision()])
    ]
    before, after = saved
    orders = []
    for image in (0, 1):
        here = torch.from_numpy(layout.vision(image))
        found = (after[here][:, None] == before[here][None]).all(-1)
        assert (found.sum(1) == 1).all()  # each is one of this image's own tokens
        orders.append(found.float().argmax(1).tolist())
    assert orders[0] != orders[1]


def test_permutations_that_do_not_fit(vlm, inputs):
    size = len(vision_of(inputs))
    for wrong in (tuple(range(size - 1)), (0,) * size, tuple(range(1, size + 1))):
        with pytest.raises(InputError, match=f"this image has {size} vision tokens"):
            vlm.run(inputs, [PermuteVision(permutation=wrong)])
    with pytest.raises(EmptySelectionError, match="sample 1 has no vision tokens"):
        vlm.run(vlm.inputs([[picture(0)], []], list(QUESTIONS)), [PermuteVision()])


@pytest.mark.parametrize("point", ["vision.hook_embed", "blocks.0.attn.hook_pattern"])
def test_only_an_images_tokens_can_be_permuted(vlm, inputs, point):
    with pytest.raises(InputError, match="positions of a sequence"):
        vlm.run(inputs, [PermuteVision(point=point)])


def test_later_points_can_be_permuted_too(vlm, inputs):
    name = "blocks.1.hook_resid_pre"
    order = drawn(len(vision_of(inputs)))
    before = vlm.run(inputs, save=name).saved[name]
    edit = PermuteVision(point=name, permutation=order)
    after = vlm.run(inputs, [edit], save=name).saved[name]
    here = vision_of(inputs, 1)
    assert torch.equal(after[1, here], before[1, here][list(order)])


# PatchFrom.


def test_a_patch_from_the_same_run_is_nothing(vlm, inputs):
    source = vlm.run(inputs, save="*")
    for point in (
        "hook_embed",
        "blocks.*.hook_resid_mid",
        "blocks.*.attn.hook_rot_k",
        "vision.*.hook_mlp_out",
    ):
        patched = vlm.run(inputs, [PatchFrom(point=point, source=source.saved)])
        assert torch.equal(patched.logits, source.logits), point


def test_everything_that_enters_decides_what_comes_out(vlm):
    question = [QUESTIONS[0]]
    one, other = (vlm.inputs([picture(n)], question) for n in (0, 5))
    source = vlm.run(other, save=["hook_embed", "blocks.0.hook_resid_post"])
    clean = vlm.run(one).logits
    assert_apart(clean, source.logits)
    for point in ("hook_embed", "blocks.0.hook_resid_post"):
        patched = vlm.run(one, [PatchFrom(point=point, source=source.saved)]).logits
        assert torch.equal(patched, source.logits), point
    # The two differ in their image alone.
    vision = PatchFrom(point="hook_embed", where=vl.Where(positions="vision"), source=source.saved)
    assert torch.equal(vlm.run(one, [vision]).logits, source.logits)
    text = PatchFrom(point="hook_embed", where=vl.Where(positions="user"), source=source.saved)
    assert torch.equal(vlm.run(one, [text]).logits, clean)


def test_a_patch_goes_where_it_is_told_and_nowhere_else(vlm):
    question = [QUESTIONS[0]]
    one, other = (vlm.inputs([picture(n)], question) for n in (0, 5))
    point = "blocks.0.attn.hook_z"
    source = vlm.run(other, save=point).saved
    where = vl.Where(heads=2, positions=("user", "last"))
    before = vlm.run(one, save=point).saved[point]
    after = vlm.run(one, [PatchFrom(point=point, where=where, source=source)], point).saved[point]
    mask = torch.zeros_like(before, dtype=torch.bool)
    chosen = torch.from_numpy(one.layouts[0].mask("user"))
    chosen[-1] = True
    mask[:, chosen, 2] = True
    assert torch.equal(after[mask], source[point][mask])
    assert torch.equal(after[~mask], before[~mask])


def test_patches_that_do_not_fit(vlm, inputs):
    alone = vlm.run(vlm.inputs([picture(0)], ["Where?"]), save="hook_embed").saved
    with pytest.raises(InputError, match="same prompt length"):
        vlm.run(inputs, [PatchFrom(point="hook_embed", source=alone)])
    with pytest.raises(InputError, match=r"source=run\.saved"):
        vlm.run(inputs, [PatchFrom(point="hook_embed")])
    with pytest.raises(UnknownPointError, match="this run saved"):
        vlm.run(inputs, [PatchFrom(point="blocks.*.hook_mlp_out", source=alone)])


# Scale, ZeroAblate, KnockOut.


def test_scaling_the_image_leaves_the_first_pattern_alone(vlm, inputs):
    """RMSNorm takes the scale away, so only what comes after block 0's stream can tell."""
    clean = vlm.run(inputs, save=PATTERN).saved.stack(PATTERN)
    # Large norms: the epsilon under RMSNorm's root is what is left of the scale.
    louder = Scale(point="hook_embed", where=vl.Where(positions="vision"), by=10.0)
    scaled = vlm.run(inputs, [louder], save=PATTERN).saved.stack(PATTERN)
    assert_close(scaled[0], clean[0])
    assert (scaled[1:] - clean[1:]).abs().max() > 1e-2


def test_edits_are_applied_in_order(vlm, inputs):
    name = "blocks.0.hook_mlp_out"
    double, nothing = Scale(point=name, by=2.0), ZeroAblate(point=name)
    clean = vlm.run(inputs, save=name).saved[name]
    assert torch.equal(vlm.run(inputs, [double, double], name).saved[name], clean * 2 * 2)
    halved = [double, Scale(point=name, by=0.5)]
    assert torch.equal(vlm.run(inputs, halved).logits, vlm.run(inputs).logits)
    back = PatchFrom(point=name, source=vlm.run(inputs, save=name).saved)
    assert torch.equal(vlm.run(inputs, [nothing, back], name).saved[name], clean)
    assert (vlm.run(inputs, [back, nothing], name).saved[name] == 0).all()


@pytest.mark.parametrize(
    ("edit", "point"),
    [
        (Scale(point="hook_embed", where=vl.Where(positions="vision"), by=3.0), "hook_embed"),
        (ZeroAblate(point="blocks.1.*.hook_rot_k", where=vl.Where(positions=-1, heads=0)), None),
        (ZeroAblate(point="blocks.*.attn.hook_q", where=vl.Where(layers=-1, heads=(0, 2))), None),
        (Scale(point="vision.blocks.*.hook_mlp_out", where=vl.Where(layers=-1), by=2.0), None),
        (KnockOut(where=vl.Where(layers=1, heads=1, queries="user", keys="vision")), None),
        (Scale(point="blocks.0.attn.hook_pattern", where=vl.Where(queries="last"), by=0.5), None),
    ],
    ids=str,
)
def test_what_is_not_meant_stays_bit_for_bit(vlm, inputs, edit, point):
    names = [
        n
        for n in vlm.matching(edit.point)
        if edit.where.has_layer(vlm.hook_dict[n].point.layer, depth(vlm, n))
    ]
    before = vlm.run(inputs, save=names).saved
    after = vlm.run(inputs, [edit], save=names[:1]).saved
    x = before[names[0]]
    mask = edit.where.mask(vlm.hook_dict[names[0]].axes, x.shape, inputs.layouts)
    mask = torch.ones_like(x, dtype=torch.bool) if mask is None else mask.expand_as(x)
    assert torch.equal(after[names[0]][~mask], x[~mask])
    assert_apart(after[names[0]][mask], x[mask])


def test_layers_of_what_is_in_no_block_are_refused(vlm, inputs):
    """At every such point; beside points of blocks they stand for those alone."""
    outside = [name for name, at in vlm.hook_dict.items() if at.point.layer is None]
    assert {"hook_embed", "vision.hook_embed"} <= set(outside)
    for name in outside:
        with pytest.raises(EmptySelectionError, match="no point is in a block"):
            vlm.run(inputs, Scale(name, Where(layers=0), by=2.0))
    with pytest.raises(EmptySelectionError, match="no point is in a block"):
        sweep(vlm, *samples()[:2], "hook_embed", where=Where(layers=0), progress=False)
    mixed = edited_points(vlm, Scale("*hook_resid_post", Where(layers=0)))
    assert any(vlm.hook_dict[name].point.layer == 0 for name in mixed)


def test_layers_of_the_tower_are_counted_in_the_tower(vlm, inputs):
    point = "vision.blocks.*.hook_mlp_out"
    last = max(vlm.hook_dict[name].point.layer for name in vlm.matching(point))
    clean = vlm.run(inputs).logits
    by_number = vlm.run(inputs, [Scale(point=point, where=vl.Where(layers=last), by=2.0)]).logits
    from_end = vlm.run(inputs, [Scale(point=point, where=vl.Where(layers=-1), by=2.0)]).logits
    assert torch.equal(by_number, from_end)
    assert_apart(by_number, clean)
    with pytest.raises(EmptySelectionError, match=f"no layer {last + 1}: there are {last + 1}"):
        vlm.run(inputs, [Scale(point=point, where=vl.Where(layers=last + 1), by=2.0)])


def test_knocked_out_keys_get_nothing_and_the_rest_shares_it(vlm, inputs):
    where = vl.Where(layers=0, heads=(0, 3), keys="vision")
    name = "blocks.0.attn.hook_pattern"
    before, after = (
        vlm.run(inputs, edits, save=name).saved[name] for edits in ([], [KnockOut(where=where)])
    )
    for row, layout in enumerate(inputs.layouts):
        vision = torch.from_numpy(layout.mask("vision"))
        assert torch.equal(after[row, 1:3], before[row, 1:3])
        for head in (0, 3):
            kept = before[row, head, -1, ~vision]
            assert (after[row, head, -1, vision] == 0).all()
            torch.testing.assert_close(after[row, head, -1, ~vision], kept / kept.sum())


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(
    "edit",
    [
        KnockOut(where=vl.Where(keys="vision")),
        Scale(point=PATTERN, where=vl.Where(heads=1), by=0.25),
        Scale(point="blocks.*.attn.hook_rot_k", by=0.5),
    ],
    ids=str,
)
def test_saved_rows_show_what_the_edits_made_of_them(vlm, inputs, edit, attention):
    whole = vlm.run(inputs, [edit], PATTERN, attention=attention).saved.stack(PATTERN)
    last = vl.Save(PATTERN, rows="last")
    rows = vlm.run(inputs, [edit], last, attention=attention).saved.stack(PATTERN)
    assert_close(rows, whole[..., -1:, :])
    told = vlm.generate(inputs, [edit], last, max_new_tokens=2, stop=False, attention=attention)
    every = vlm.generate(inputs, [edit], PATTERN, max_new_tokens=2, stop=False, attention=attention)
    for one, other in zip(told.steps, every.steps, strict=True):
        expected = other.saved.stack(PATTERN)[..., -1:, :]
        assert_close(one.saved.stack(PATTERN), expected)


def test_rows_of_the_prompt_are_gone_while_decoding(vlm, inputs):
    saves = [vl.Save(PATTERN, rows=2), vl.Save("blocks.*.hook_resid_pre", rows=2)]
    first, second = vlm.generate(inputs, save=saves, max_new_tokens=2, stop=False).steps
    assert [first.saved.stack(save).shape[-2] for save in saves] == [1, 1]
    assert [second.saved.stack(save).shape[-2] for save in saves] == [0, 0]


def test_the_tower_has_no_rows(vlm, inputs):
    for point in ("vision.blocks.0.attn.hook_pattern", "projector.hook_out"):
        with pytest.raises(InputError, match="no positions of which rows"):
            vlm.run(inputs, save=vl.Save(point, rows="last"))


def test_rows_need_the_same_number_in_each_sample(vlm, inputs):
    with pytest.raises(InputError, match=r"rows='user' are .* one by one"):
        vlm.run(inputs, save=vl.Save(PATTERN, rows="user"))


def test_an_empty_selection_is_no_edit(vlm, inputs):
    for where in (vl.Where(positions=()), vl.Where(layers=())):
        with pytest.raises(EmptySelectionError):
            vlm.run(inputs, [Scale(point="blocks.*.hook_mlp_out", where=where, by=2.0)])
