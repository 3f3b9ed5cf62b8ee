"""What HookedVLM promises of every family."""

import copy

import pytest
import torch
from conftest import QUESTIONS, picture

import vlmlens as vl
from vlmlens.errors import (
    EmptySelectionError,
    UnknownPointError,
    UnknownRoleError,
    UnreachedPointError,
)
from vlmlens.interventions import KnockOut, PatchFrom, Scale, ZeroAblate
from vlmlens.model.rotary import rotate, unrotate
from vlmlens.points import BLOCK_POINTS


def close(a, b, atol=1e-5):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=atol)


# 1. Watching changes nothing.


def plain_logits(vlm, inputs):
    """Plain transformers, from a copy of the model that vlmlens never saw."""
    model = type(vlm.hf_model)(copy.deepcopy(vlm.hf_model.config))
    model.set_attn_implementation("sdpa")
    model.load_state_dict(vlm.hf_model.state_dict())
    with torch.no_grad():
        return model.eval()(**inputs.tensors, use_cache=False).logits


def test_logits_are_those_of_plain_transformers_bit_for_bit(vlm, inputs):
    plain = plain_logits(vlm, inputs)
    assert torch.equal(vlm.run(inputs).logits, plain)
    logits, cache = vlm.run_with_cache(inputs)
    assert torch.equal(logits, plain)
    assert set(cache) == set(vlm.hook_dict)


def test_one_sample_alone_is_plain_transformers_with_its_own_defaults(vlm):
    alone = vlm.inputs([picture(0)], [QUESTIONS[0]])
    tensors = {k: alone.tensors[k] for k in ("input_ids", "pixel_values")}
    with torch.no_grad():
        plain = vlm.hf_model(**tensors, use_cache=False).logits
    assert torch.equal(vlm.run(alone).logits, plain)


def test_the_image_matters(vlm):
    one = vlm.run(vlm.inputs([picture(0)], [QUESTIONS[0]])).logits
    other = vlm.run(vlm.inputs([picture(5)], [QUESTIONS[0]])).logits
    assert (one - other)[:, -1].abs().max() > 1e-2


# 2. Every point is reached, in its own axes, and every edit of it changes the logits.


def test_every_point_has_the_axes_it_declares(vlm, inputs):
    _, cache = vlm.run_with_cache(inputs)
    text = vlm.config.get_text_config()
    for name, tensor in cache.items():
        axes = vlm.hook_dict[name].axes
        assert tensor.ndim == len(axes), name
        size = dict(zip(axes, tensor.shape, strict=True))
        if "batch" in size:
            assert size["batch"] == 2, name
            assert size.get("pos", len(inputs.layouts[0])) == len(inputs.layouts[0]), name
            assert size.get("head", text.num_attention_heads) == text.num_attention_heads, name
            assert size.get("kv_head", text.num_key_value_heads) == text.num_key_value_heads, name
            assert size.get("d_model", text.hidden_size) == text.hidden_size, name
        if "image" in size:
            vision = vlm.config.vision_config
            assert size.get("head", vision.num_attention_heads) == vision.num_attention_heads


def test_every_point_is_alive(vlm, inputs):
    clean = vlm.run(inputs).logits
    for name in vlm.hook_dict:
        by = 0.5 if "pattern" not in name and "scores" not in name else 0.7
        edited = vlm.run(inputs, [Scale(point=name, by=by)]).logits
        assert (edited - clean).abs().max() > 1e-6, name


def test_a_point_that_nothing_reads_is_not_offered(vlm):
    used = vlm.family.vision_used(vlm.config)
    if used == vlm.config.vision_config.num_hidden_layers:
        return
    with pytest.raises(UnknownPointError, match="never used"):
        vlm.matching(f"vision.blocks.{used}.hook_resid_pre")


# 3. The residual stream adds up.


@pytest.mark.parametrize("part", ["vision.blocks", "blocks"])
def test_the_residual_stream_adds_up(vlm, inputs, part):
    saved = vlm.run(inputs, save=[f"{part}.*"]).saved

    def every(site):
        return saved.stack(f"{part}.*.{site}")

    close(every("hook_resid_pre") + every("hook_attn_out"), every("hook_resid_mid"))
    close(every("hook_resid_mid") + every("hook_mlp_out"), every("hook_resid_post"))
    close(every("hook_resid_post")[:-1], every("hook_resid_pre")[1:])


def test_an_edit_of_the_stream_reaches_both_branches(vlm, inputs):
    zeroed = vlm.run(
        inputs,
        [ZeroAblate(point="blocks.0.hook_resid_mid")],
        save=["blocks.0.hook_mlp_out", "blocks.0.hook_resid_post"],
    ).saved
    assert torch.equal(zeroed["blocks.0.hook_mlp_out"], zeroed["blocks.0.hook_resid_post"])


def test_the_heads_writes_sum_to_what_attention_adds(vlm, inputs):
    saved = vlm.run(inputs, save=["blocks.*.attn.hook_result", "blocks.*.hook_attn_out"]).saved
    close(saved.stack("blocks.*.attn.hook_result").sum(-2), saved.stack("blocks.*.hook_attn_out"))


def test_editing_the_heads_writes(vlm, inputs):
    where = vl.Where(layers=0, heads=1)
    by_write = vlm.run(inputs, [ZeroAblate(point="blocks.*.attn.hook_result", where=where)])
    by_z = vlm.run(inputs, [ZeroAblate(point="blocks.*.attn.hook_z", where=where)])
    close(by_write.logits, by_z.logits, atol=1e-4)


# 4. The pattern is causal, sums to one, and mixes the values into z.


def test_patterns(vlm, inputs):
    saved = vlm.run(
        inputs, save=["blocks.*.attn.hook_pattern", "blocks.*.attn.hook_v", "blocks.*.attn.hook_z"]
    ).saved
    pattern = saved.stack("blocks.*.attn.hook_pattern")
    for row, layout in enumerate(inputs.layouts):
        own = torch.from_numpy(~layout.mask("pad"))
        close(
            pattern[:, row][:, :, own].sum(-1), torch.ones(()).expand_as(pattern[:, row, :, own, 0])
        )
        assert (pattern[:, row][:, :, own][..., ~own] == 0).all()
    future = torch.ones(pattern.shape[-2:], dtype=torch.bool).triu(1)
    assert (pattern[..., future] == 0).all()
    values = saved.stack("blocks.*.attn.hook_v")
    group = pattern.shape[2] // values.shape[3]
    mixed = torch.einsum("lbhqk,lbkhd->lbqhd", pattern, values.repeat_interleave(group, 3))
    z = saved.stack("blocks.*.attn.hook_z")
    for row, layout in enumerate(inputs.layouts):
        own = torch.from_numpy(~layout.mask("pad"))
        close(mixed[:, row, own], z[:, row, own])


def test_knocking_out_all_keys_leaves_nothing_and_never_the_future(vlm, inputs):
    cut = KnockOut(where=vl.Where(layers=0, queries=3))
    saved = vlm.run(
        inputs, [cut], save=["blocks.0.attn.hook_pattern", "blocks.0.attn.hook_z"]
    ).saved
    for row, layout in enumerate(inputs.layouts):
        at = int((~layout.mask("pad")).nonzero()[0][3])
        assert (saved["blocks.0.attn.hook_pattern"][row, :, at] == 0).all()
        assert (saved["blocks.0.attn.hook_z"][row, at] == 0).all()
    assert vlm.run(inputs, [cut]).logits.isfinite().all()


# 5. RoPE turns and does not stretch.


def test_rope(vlm, inputs):
    saved = vlm.run(inputs, save=["blocks.*.attn.*"]).saved
    for side in "qk":
        before, after = (saved.stack(f"blocks.*.attn.hook_{name}{side}") for name in ("", "rot_"))
        cos, sin = (saved.stack(f"blocks.*.attn.hook_{t}")[:, :, :, None] for t in ("cos", "sin"))
        close(before.norm(dim=-1), after.norm(dim=-1))
        close(rotate(before, cos, sin), after)
        close(unrotate(after, cos, sin), before)
        first = [int((~lay.mask("pad")).nonzero()[0][0]) for lay in inputs.layouts]
        for row, at in enumerate(first):
            close(before[:, row, at], after[:, row, at])
        assert (before - after).abs().max() > 0.1
    turned = vlm.rope.turn(saved["blocks.0.attn.hook_rot_k"][:, :-1], 1.0)
    again = rotate(
        saved["blocks.0.attn.hook_k"][0, :-1],
        *(saved[f"blocks.0.attn.hook_{t}"][0, 1:, None] for t in ("cos", "sin")),
    )
    last = ~inputs.layouts[0].mask("pad")[:-1]
    close(turned[0, last], again[last])


# 6. Rows computed from rotated q and k equal the eager pattern.


def test_rows_equal_eager(vlm, inputs):
    whole = vlm.run(inputs, save="blocks.*.attn.hook_pattern", attention="eager")
    assert whole.attention == "eager"
    rows = vlm.run(inputs, save=vl.Save("blocks.*.attn.hook_pattern", rows=("last", 2))).saved
    got = rows.stack("blocks.*.attn.hook_pattern")
    for row, layout in enumerate(inputs.layouts):
        own = (~layout.mask("pad")).nonzero()[0]
        at = torch.tensor([own[2], own[-1]])
        expected = whole.saved.stack("blocks.*.attn.hook_pattern")[:, row][:, :, at]
        torch.testing.assert_close(got[:, row], expected, rtol=0, atol=1e-6)


def test_eager_patterns_are_transformers_own(vlm):
    alone = vlm.inputs([picture(0)], [QUESTIONS[0]])
    ours = vlm.run(alone, save="blocks.*.attn.hook_pattern").saved
    model = type(vlm.hf_model)(copy.deepcopy(vlm.hf_model.config))
    model.load_state_dict(vlm.hf_model.state_dict())
    model.set_attn_implementation("eager")
    with torch.no_grad():
        theirs = model.eval()(**alone.tensors, output_attentions=True).attentions
    for layer, attention in enumerate(theirs):
        close(ours[f"blocks.{layer}.attn.hook_pattern"], attention, atol=1e-6)


# 7. Batches, padding sides, several images and decoding agree with one by one.


@pytest.mark.parametrize("padding", ["left", "right"])
def test_a_batch_agrees_with_one_by_one(vlm, padding):
    pictures = [picture(0), picture(1)]
    batch = vlm.inputs(pictures, list(QUESTIONS), padding=padding)
    logits = vlm.run(batch).logits
    for row, (image, question) in enumerate(zip(pictures, QUESTIONS, strict=True)):
        alone = vlm.run(vlm.inputs([image], [question])).logits[0]
        close(logits[row, torch.from_numpy(~batch.layouts[row].mask("pad"))], alone, atol=1e-4)


def test_two_images_land_where_their_layout_says(vlm):
    two = [picture(0), picture(1)]
    both = vlm.inputs([two], ["<image>\nWhat is left of <image>?"])
    layout = both.layouts[0]
    assert layout.images == 2
    embedded = vlm.run(both, save=["hook_embed", "projector.hook_out"]).saved
    for image in (0, 1):
        here = torch.from_numpy(layout.vision(image))
        assert torch.equal(embedded["hook_embed"][0, here], embedded["projector.hook_out"][image])


def test_decoding_with_the_cache_agrees_with_one_pass(vlm, inputs):
    generation = vlm.generate(inputs, max_new_tokens=5, stop=False, save="blocks.*.attn.hook_z")
    grown = inputs.appended(generation.tokens)
    whole = vlm.run(grown, save="blocks.*.attn.hook_z")
    start = len(inputs.layouts[0]) - 1
    for number, step in enumerate(generation.steps):
        close(step.logits[:, -1], whole.logits[:, start + number], atol=1e-4)
        z = step.saved.stack("blocks.*.attn.hook_z")[:, :, -1]
        close(z, whole.saved.stack("blocks.*.attn.hook_z")[:, :, start + number], atol=1e-4)


def test_greedy_decoding_is_that_of_transformers(vlm, inputs):
    ours = vlm.generate(inputs, max_new_tokens=6, stop=False).tokens
    tensors = {k: v for k, v in inputs.tensors.items() if k != "position_ids"}
    theirs = vlm.hf_model.generate(**tensors, max_new_tokens=6, min_new_tokens=6, do_sample=False)
    assert torch.equal(ours, theirs[:, -6:])


def test_edits_hold_while_decoding(vlm, inputs):
    cut = KnockOut(where=vl.Where(keys="vision"))
    generation = vlm.generate(
        inputs, [cut], max_new_tokens=3, stop=False, save="blocks.*.attn.hook_pattern"
    )
    for step in generation.steps:
        for row, layout in enumerate(step.inputs.layouts):
            vision = torch.from_numpy(layout.mask("vision"))
            pattern = step.saved.stack("blocks.*.attn.hook_pattern")[:, row]
            assert (pattern[..., vision] == 0).all()
    plain = vlm.generate(inputs, max_new_tokens=3, stop=False)
    assert (plain.steps[2].logits - generation.steps[2].logits).abs().max() > 1e-6


# 8. Layouts: vision positions are where the image features land; grids match.


def test_vision_positions_hold_the_projected_image(vlm, inputs):
    saved = vlm.run(inputs, save=["hook_embed", "projector.hook_out"]).saved
    for row, layout in enumerate(inputs.layouts):
        here = torch.from_numpy(layout.vision(0))
        assert torch.equal(saved["hook_embed"][row, here], saved["projector.hook_out"][row])
        rows, columns = layout.grid()
        assert rows * columns == len(here) == layout.roles.count("vision")


def test_roles_hold_the_words_they_should(vlm, inputs):
    tokenizer = vlm.processor.tokenizer
    ids = inputs.tensors["input_ids"]
    for row, layout in enumerate(inputs.layouts):

        def said(role, row=row, layout=layout):
            return tokenizer.decode(ids[row, torch.from_numpy(layout.mask(role))]).strip()

        assert said("system") == "Answer in a word or two."
        assert said("user") == QUESTIONS[row]
        assert said("bos") == "<s>"
        assert "USER:" in said("template")
        assert said("template").endswith("ASSISTANT:")


# 9. What could silently do nothing raises.


def test_errors_name_what_there_is(vlm, inputs):
    with pytest.raises(UnknownPointError, match=r"blocks\.0\.attn\.hook_pattern"):
        vlm.run(inputs, save="blocks.0.attn.hook_patern")
    with pytest.raises(UnknownPointError):
        vlm.run_with_hooks(inputs, fwd_hooks=[("blocks.9.hook_resid_pre", lambda x, hook: x)])
    with pytest.raises(EmptySelectionError, match="no layer 9"):
        vlm.run(inputs, [KnockOut(where=vl.Where(layers=9))])
    with pytest.raises(EmptySelectionError, match="no head 4"):
        vlm.run(inputs, [KnockOut(where=vl.Where(heads=4))])
    with pytest.raises(UnknownRoleError, match="vision"):
        vlm.run(inputs, [KnockOut(where=vl.Where(keys="visoin"))])
    with pytest.raises(EmptySelectionError, match="this input has"):
        vlm.run(inputs, [KnockOut(where=vl.Where(keys="assistant"))])
    with pytest.raises(EmptySelectionError, match="axes batch pos d_model"):
        vlm.run(inputs, [ZeroAblate(point="hook_embed", where=vl.Where(heads=0))])
    with pytest.raises(UnknownPointError):
        vlm.run(inputs, [PatchFrom(point="hook_embed", source=vlm.run(inputs).saved)])


def test_a_point_that_is_never_reached(vlm):
    text_only = vlm.inputs([[]], ["What color is the circle?"])
    assert text_only.layouts[0].images == 0
    with pytest.raises(UnreachedPointError, match="no image"):
        vlm.run(text_only, save="vision.blocks.0.hook_resid_pre")
    with pytest.raises(UnreachedPointError):
        vlm.run(text_only, [Scale(point="projector.hook_out", by=2.0)])


# 10. Hooks never outlive the call that set them.


def torch_hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_hooks_never_outlive_their_call(vlm, inputs):
    before = torch_hooks(vlm.hf_model)
    clean = vlm.run(inputs).logits

    def fail(x, hook):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        vlm.run_with_hooks(inputs, fwd_hooks=[("blocks.1.attn.hook_pattern", fail)])
    with pytest.raises(EmptySelectionError):
        vlm.run(inputs, [KnockOut(where=vl.Where(keys="assistant"))], save="blocks.*")
    vlm.run(inputs, [Scale(point="hook_embed", by=2.0)], save="*")
    assert torch_hooks(vlm.hf_model) == before
    assert not any(point.has_hooks() for point in vlm.hook_points())
    assert torch.equal(vlm.run(inputs).logits, clean)


def test_hooks_that_are_added_stay_until_they_are_reset(vlm, inputs):
    clean = vlm.run(inputs).logits
    vlm.add_hook("hook_embed", lambda x, hook: x * 2)
    assert not torch.equal(vlm.run(inputs).logits, clean)
    vlm.reset_hooks()
    assert torch.equal(vlm.run(inputs).logits, clean)


def test_every_block_point_is_offered_or_its_absence_explained(vlm):
    for prefix, layers in (
        ("", vlm.layers),
        ("vision.", vlm.config.vision_config.num_hidden_layers),
    ):
        for layer in range(layers):
            for point in BLOCK_POINTS:
                name = f"{prefix}blocks.{layer}.{point.name}"
                assert (name in vlm.hook_dict) != (name in vlm.absent), name
