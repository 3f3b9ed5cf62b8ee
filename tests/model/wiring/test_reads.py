"""What each head reads, what norms divide by, and the mask: points beside the pass."""

import re
from dataclasses import dataclass

import pytest
import torch
from closeness import assert_apart, assert_close
from conftest import QUESTIONS, picture

import vlmlens as vl
from vlmlens.interventions import Edit, KnockOut, Scale
from vlmlens.model import Norm

SIDES = ("q", "k", "v")


@pytest.fixture(scope="module")
def some_inputs(every_vlm):
    return every_vlm.inputs([picture(0), picture(1)], list(QUESTIONS))


def readers(vlm):
    """Every block with a stream that heads read, of the tower and the language model."""
    ends = ".hook_q_input"
    return [name.removesuffix(ends) for name in vlm.hook_dict if name.endswith(ends)]


def test_gradients_of_what_heads_read_add_up_to_that_of_the_stream(every_vlm, some_inputs):
    """d/d(stream of attention) = the sum of d/d(what each head reads), over q, k, v and heads."""
    vlm, grads = every_vlm, {}
    blocks = [b for b in readers(vlm) if f"{b}.hook_attn_in" in vlm.hook_dict][::2]
    wanted = [
        f"{block}.{name}"
        for block in blocks
        for name in ("hook_attn_in", *(f"hook_{side}_input" for side in SIDES))
        if f"{block}.{name}" in vlm.hook_dict
    ]

    def keep(grad, hook):
        grads[hook.name] = grad.detach().clone()

    with torch.enable_grad(), vlm.hooks(bwd_hooks=[(name, keep) for name in wanted]):
        logits = vlm.run_with_hooks(some_inputs)
        (logits.float().square().mean() * 10).backward()
    assert blocks or not readers(vlm)
    for block in blocks:
        read = [
            grads[f"{block}.hook_{s}_input"].sum(-2)
            for s in SIDES
            if f"{block}.hook_{s}_input" in grads
        ]
        assert_close(sum(read), grads[f"{block}.hook_attn_in"], depth=len(blocks), msg=block)


def mixes(vlm, name, after):
    """Whether queries or keys are normed over all heads at once."""
    there = vlm.hook_dict[after]
    return there.module is not vlm.hook_dict[name].module and "(" in (there.layout or "")


def test_one_head_reads_another_stream(every_vlm, some_inputs):
    """Its query, key or value is that of the other stream, and every other head's stays."""
    vlm = every_vlm
    for turn, block in enumerate(readers(vlm)):
        for side in SIDES:
            name, after = f"{block}.hook_{side}_input", f"{block}.attn.hook_{side}"
            if name not in vlm.hook_dict or after not in vlm.hook_dict or mixes(vlm, name, after):
                continue
            heads = vlm.hook_dict[name].sizes
            (count,) = heads.values()
            head = turn % count

            def other(x, hook=None, head=head):
                x = x.clone()
                x[..., head, :] = x[..., head, :].flip(-1) * 0.5
                return x

            clean = vlm.run(some_inputs, save=after)
            made = vlm.run(some_inputs, [Edit(name, by=other)], save=after)
            moved = (made.saved[after] != clean.saved[after]).any(-1)
            axis = vlm.hook_dict[after].axes.index(next(iter(heads)))
            touched = moved.movedim(axis, -1).flatten(0, -2).any(0).tolist()
            assert touched == [number == head for number in range(count)], name
            stream = Edit(f"{block}.hook_attn_in", by=lambda x, hook=None: x.flip(-1) * 0.5)
            if stream.point in vlm.hook_dict:
                whole = vlm.run(some_inputs, [stream], save=after).saved[after]
                assert_close(
                    made.saved[after].select(axis, head), whole.select(axis, head), msg=name
                )


def test_edits_of_the_norm_and_of_what_heads_read_add_up(vlm):
    model, inputs = vlm, vlm.inputs([picture(0)], [QUESTIONS[0]])
    read, norm = "blocks.1.hook_q_input", "blocks.1.ln1.hook_normalized"
    q, flip = "blocks.1.attn.hook_q", Edit(read, by=lambda x, hook=None: x.flip(-1))
    found = model.run(inputs, [Scale(norm, by=3.0), flip], save=[q, norm]).saved
    clean = model.run(inputs, save=[q, norm, "blocks.1.hook_resid_pre"]).saved
    block = model.hf_model.model.language_model.layers[1]
    with torch.no_grad():
        flipped = block.input_layernorm(clean["blocks.1.hook_resid_pre"].flip(-1))
        expected = block.self_attn.q_proj(flipped + 2 * clean[norm])
    assert_close(found[q].flatten(-2), expected)


def test_a_norm_is_its_stream_over_its_scale(every_vlm, some_inputs):
    vlm = every_vlm
    names = [name for name in vlm.hook_dict if re.search(r"ln[12]\.hook_scale", name)]
    for name in names:
        stage = name.removesuffix("hook_scale") + "hook_normalized"
        entering = name.replace("ln1.hook_scale", "hook_attn_in")
        entering = entering.replace("ln2.hook_scale", "hook_mlp_in")
        if entering not in vlm.hook_dict:
            continue
        saved = vlm.run(some_inputs, save=[name, stage, entering]).saved
        norm = Norm.of(vlm.hook_dict[name].module, saved[entering])
        made = norm.part(saved[entering], saved[name]) + norm.bias
        assert_close(made, saved[stage], msg=name)
        halved = vlm.run(some_inputs, [Scale(name, by=0.5)], save=stage).saved[stage]
        assert_close(halved - norm.bias, 2 * (saved[stage] - norm.bias), msg=name)


def test_the_mask_hides_and_a_hook_at_it_knocks_out(every_vlm, some_inputs):
    vlm = every_vlm
    masks = [n for n in vlm.hook_dict if re.fullmatch(r"blocks\.\d+\.attn\.hook_mask", n)]
    saved = vlm.run(some_inputs, save=["blocks.*.attn.hook_mask", "blocks.*.hook_pattern"]).saved
    where, cuts = vl.Where(queries="last", keys="vision"), {}
    for name in masks:
        pattern = saved[name.replace("hook_mask", "hook_pattern")]
        hidden = (saved[name] == -torch.inf)[:, None].expand_as(pattern)
        assert hidden.any(), name
        assert not pattern[hidden].any(), name
        cut = where.mask(vlm.hook_dict[name].axes, saved[name].shape, some_inputs.layouts)
        if (cut & (saved[name] > -torch.inf)).flatten(1).any(1).all():  # no window lies between
            cuts[name] = cut
    name, cut = next(iter(cuts.items()))

    def hide(x, hook=None):
        return x.masked_fill(cut, -torch.inf)

    layer = int(name.split(".")[1])
    by_mask = vlm.run(some_inputs, [Edit(name, by=hide)]).logits
    knocked = vlm.run(
        some_inputs,
        [KnockOut(where=vl.Where(queries="last", keys="vision", layers=layer))],
    ).logits
    assert_close(by_mask, knocked)
    assert_apart(by_mask, vlm.run(some_inputs).logits)


def test_a_gated_mlp_multiplies_its_two_halves(every_vlm, some_inputs):
    vlm = every_vlm
    for name in vlm.hook_dict:
        if not name.endswith("mlp.hook_pre_linear"):
            continue
        gate, post = (name.replace("hook_pre_linear", end) for end in ("hook_pre", "hook_post"))
        saved = vlm.run(some_inputs, save=[name, gate, post]).saved
        ratio = saved[post] / saved[name]
        # One function of the gate, whatever the other half is: sorted by the gate it is smooth.
        assert torch.isfinite(ratio).float().mean() > 0.99, name
        doubled = vlm.run(some_inputs, [Scale(name, by=2.0)], save=post).saved[post]
        assert_close(doubled, 2 * saved[post], msg=name)


def test_what_the_mlp_reads_is_the_norm_of_the_stream(every_vlm, some_inputs):
    vlm = every_vlm
    for name in vlm.hook_dict:
        if not name.endswith("mlp.hook_in"):
            continue
        normed = name.replace("mlp.hook_in", "ln2.hook_normalized")
        if normed in vlm.hook_dict:
            saved = vlm.run(some_inputs, save=[name, normed]).saved
            assert torch.equal(saved[name], saved[normed].reshape(saved[name].shape)), name


def test_an_edit_reads_every_point_of_its_own_block(every_vlm, some_inputs):
    """Whatever a block offers; not another block's, and not one that no block has."""
    vlm, begin = every_vlm, "blocks.1."
    names = [name.removeprefix(begin) for name in vlm.hook_dict if name.startswith(begin)]
    seen = {}

    @dataclass(frozen=True)
    class Reading(vl.Intervention):
        reads = tuple(names)

        def edit(self, x, site):
            seen.update({name: site.read(name) for name in self.reads})
            return x

    vlm.run(some_inputs, Reading(f"{begin}hook_resid_post"))
    saved = vlm.run(some_inputs, save=[begin + name for name in names]).saved
    assert set(seen) == set(names)
    for name in names:
        assert torch.equal(seen[name], saved[begin + name]), name


def test_what_an_edit_did_not_say_that_it_reads_is_named(vlm):
    @dataclass(frozen=True)
    class Reading(vl.Intervention):
        def edit(self, x, site):
            return x + site.read("attn.hook_z").flatten(-2)

    with pytest.raises(vl.errors.UnknownPointError, match=r"blocks\.1\.attn\.hook_z.*reads"):
        vlm.run(vlm.inputs([picture(0)], [QUESTIONS[0]]), Reading("blocks.1.hook_resid_post"))
