"""What HookedVLM promises of every family."""

import copy
import re
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial

import numpy as np
import pytest
import torch
from closeness import DEPTH, assert_apart, assert_close
from conftest import EVERY, OF_OTHERS, QUESTIONS, build, by_turns, picture

import vlmlens as vl
from vlmlens.errors import (
    EmptySelectionError,
    InputError,
    UnknownPointError,
    UnknownRoleError,
    UnreachedPointError,
)
from vlmlens.interventions import Edit, KnockOut, PatchFrom, Scale, ZeroAblate
from vlmlens.model.audit.measure import bent
from vlmlens.model.wiring.rotary import rotate, unrotate
from vlmlens.points import BLOCK_POINTS

pytestmark = pytest.mark.versions


@pytest.fixture(scope="module", params=by_turns(EVERY, [n for n in EVERY if n not in OF_OTHERS]))
def vlm(request):
    with vl.HookedVLM(*build(request.param), name=request.param) as model:
        yield model


@pytest.fixture(scope="module")
def images(vlm):
    """What plain tensors hold of one picture."""
    made = vlm.inputs([picture(0)], [QUESTIONS[0]])
    per_token = ("input_ids", "attention_mask", "position_ids", *vlm.family.per_token)
    return made, {k: v for k, v in made.tensors.items() if k not in per_token}


def heads_of(vlm, layer):
    text = vlm.config.get_text_config()
    own = text.per_layer_config[layer or 0]  # Gemma 4's layers differ
    return own.num_attention_heads, own.num_key_value_heads


def each(saved, pattern):
    """Every layer's activation of one kind, also where heads differ in width."""
    return [saved[name] for name in saved if fnmatchcase(name, pattern)]


def bidirectional(vlm):
    """Families in which an image's positions see each other both ways."""
    text = vlm.config.get_text_config()
    told = getattr(text, "use_bidirectional_attention", None) == "vision"
    return told or vlm.config.model_type in ("gemma3", "paligemma", "molmo2")


# 1. Watching changes nothing.


def plain_logits(vlm, inputs):
    """Plain transformers, from a copy of the model that vlmlens never saw."""
    model = type(vlm.hf_model)(copy.deepcopy(vlm.hf_model.config))
    model.set_attn_implementation(dict(vlm.implementations.found))  # Gemma 2 knows no sdpa
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
    own = ("attention_mask", "position_ids")
    tensors = {k: v for k, v in alone.tensors.items() if k not in own}
    with torch.no_grad():
        plain = vlm.hf_model(**tensors, use_cache=False).logits
        mask = alone.tensors["attention_mask"]
        masked = vlm.hf_model(**tensors, attention_mask=mask, use_cache=False).logits
    if vlm.config.model_type == "cosmos3_edge" and not torch.equal(masked, plain):
        plain = masked  # transformers 5.20 takes a prompt without a mask for several, packed
    if vlm.config.model_type.endswith("_thinker"):
        plain = masked  # without a mask positions are numbered as if there were no picture
    assert torch.equal(vlm.run(alone).logits, plain)


def test_the_image_matters(vlm):
    one = vlm.run(vlm.inputs([picture(0)], [QUESTIONS[0]])).logits
    other = vlm.run(vlm.inputs([picture(5)], [QUESTIONS[0]])).logits
    assert (one - other)[:, -1].abs().max() > 1e-2


# 2. Every point is reached, in its own axes, and every edit of it changes the logits.


def test_every_point_has_the_axes_it_declares(vlm, inputs):
    _, cache = vlm.run_with_cache(inputs)
    text = vlm.config.get_text_config()
    vision = vlm.config.vision_config
    tower_heads = getattr(vision, "num_attention_heads", None) or vision.num_heads
    tower_kv_heads = getattr(vision, "num_key_value_heads", None) or tower_heads
    for name, tensor in cache.items():
        axes = vlm.hook_dict[name].axes
        assert tensor.ndim == len(axes), name
        size = dict(zip(axes, tensor.shape, strict=True))
        if "batch" in size:
            heads, kv_heads = heads_of(vlm, vlm.hook_dict[name].point.layer)
            assert size["batch"] == 2, name
            assert size.get("pos", len(inputs.layouts[0])) == len(inputs.layouts[0]), name
            assert size.get("head", heads) == heads, name
            assert size.get("kv_head", kv_heads) == kv_heads, name
            assert size.get("d_model", text.hidden_size) == text.hidden_size, name
        elif name.startswith("vision."):
            assert size.get("head", tower_heads) == tower_heads, name
            assert size.get("kv_head", tower_kv_heads) == tower_kv_heads, name


@pytest.mark.slow
def test_every_point_is_alive(vlm, inputs):
    """Every kind in one layer, and all layers by turns; an audit tries more of them."""
    clean = vlm.run(inputs).logits
    kinds = {}
    for name in vlm.hook_dict:
        kinds.setdefault(re.sub(r"\.\d+\.", ".*.", name), []).append(name)
    for turn, names in enumerate(kinds.values()):
        name = names[turn % len(names)]
        bend = partial(bent, to=3.0, mask=name.endswith("hook_mask"))
        assert_apart(vlm.run(inputs, [Edit(name, by=bend)]).logits, clean, msg=name)


def test_a_point_that_nothing_reads_is_not_offered(vlm):
    used = vlm.family.vision_used(vlm.config)
    tower = vlm.hf_model.get_submodule(vlm.family.vision_layers)
    if used is None or used == len(tower):
        return
    with pytest.raises(UnknownPointError, match="never used"):
        vlm.matching(f"vision.blocks.{used}.hook_resid_pre")


# 3. The residual stream adds up.

#: Why a block may not offer what a half of it adds.
NO_SUM = "bare parameter|convolves"


@pytest.mark.parametrize("part", ["vision.blocks", "blocks"])
def test_the_residual_stream_adds_up(vlm, inputs, part):
    saved = vlm.run(inputs, save=[f"{part}.*"]).saved

    def every(site):
        return saved.stack(f"{part}.*.{site}")

    pre, post = every("hook_resid_pre"), every("hook_resid_post")
    halved = post
    if part == "blocks" and vlm.config.model_type == "gemma4":
        halved = without_what_gemma4_adds(vlm, inputs, post)
    for layer, (entering, leaving) in enumerate(zip(pre, halved, strict=True)):
        attention, middle, mlp = (
            saved[name] if (name := f"{part}.{layer}.{site}") in vlm.hook_dict else None
            for site in ("hook_attn_out", "hook_resid_mid", "hook_mlp_out")
        )
        if middle is None:  # attention and MLP side by side
            assert_close(entering + attention + mlp, leaving)
            continue
        if attention is None:  # said to be absent, and why
            assert re.search(NO_SUM, vlm.absent[f"{part}.{layer}.hook_attn_out"])
        else:
            assert_close(entering + attention, middle)
        if mlp is None:
            assert re.search(NO_SUM, vlm.absent[f"{part}.{layer}.hook_mlp_out"])
        else:
            assert_close(middle + mlp, leaving)
    between = pre[1:] - post[:-1]
    deep = getattr(vlm.config.vision_config, "deepstack_visual_indexes", ())
    if part == "blocks" and deep:  # features of the tower enter after the first blocks
        vision = torch.from_numpy(np.stack([lay.mask("vision") for lay in inputs.layouts]))
        assert (between[: len(deep), vision].abs() > 1e-3).any()
        assert between[: len(deep), ~vision].abs().max() < 1e-6
        between = between[len(deep) :]
    assert_close(between, torch.zeros(()).expand_as(between), like=pre, depth=1)


def without_what_gemma4_adds(vlm, inputs, post):
    """The stream after a block's two halves: before per-layer embeddings and scaling."""
    added = {}
    blocks = vlm.hf_model.get_submodule(vlm.family.lm_layers)
    handles = [
        block.post_per_layer_input_norm.register_forward_hook(
            lambda module, args, out, layer=layer: added.update({layer: out})
        )
        for layer, block in enumerate(blocks)
        if block.hidden_size_per_layer_input
    ]
    vlm.run(inputs)
    for handle in handles:
        handle.remove()
    scaled = [block.layer_scalar for block in blocks]
    return torch.stack(
        [stream / scaled[layer] - added.get(layer, 0) for layer, stream in enumerate(post)]
    )


def test_an_edit_of_the_stream_reaches_both_branches(vlm, inputs):
    if "blocks.0.hook_resid_mid" not in vlm.hook_dict:
        return
    zeroed = vlm.run(
        inputs,
        [ZeroAblate(point="blocks.0.hook_resid_mid")],
        save=["blocks.0.hook_mlp_out", "blocks.0.hook_resid_post"],
    ).saved
    assert torch.equal(zeroed["blocks.0.hook_mlp_out"], zeroed["blocks.0.hook_resid_post"])


@pytest.mark.parametrize("part", ["vision.blocks", "blocks"])
def test_the_heads_writes_sum_to_what_the_projection_writes(vlm, inputs, part):
    written = {}
    projection = vlm.hook_dict[f"{part}.0.attn.hook_result"].tap.module
    path = vlm.family.vision_layers if part == "vision.blocks" else vlm.family.lm_layers
    module = vlm.hf_model.get_submodule(f"{path}.0.{projection}")
    handle = module.register_forward_hook(lambda m, args, out: written.update(out=out))
    saved = vlm.run(inputs, save=f"{part}.0.attn.hook_result").saved
    handle.remove()
    summed = saved[f"{part}.0.attn.hook_result"].sum(-2)
    with torch.no_grad():
        zeros = torch.zeros(1, module.in_features)
        assert_close(summed.reshape(written["out"].shape) + module(zeros), written["out"])


@pytest.mark.parametrize("part", ["vision.blocks", "blocks"])
def test_editing_the_heads_writes(vlm, inputs, part):
    where, after = vl.Where(layers=0, heads=1), f"{part}.0.hook_resid_post"
    by_write, by_z = (
        vlm.run(inputs, [ZeroAblate(point=f"{part}.*.attn.{name}", where=where)], save=after).saved[
            after
        ]
        for name in ("hook_result", "hook_z")
    )
    assert_close(by_write, by_z)


@pytest.mark.parametrize("part", ["vision.blocks", "blocks"])
def test_what_attention_adds_follows_an_edit_of_the_heads_writes(vlm, inputs, part):
    names = [f"{part}.0.hook_{site}" for site in ("resid_pre", "attn_out", "resid_mid")]
    if not all(name in vlm.hook_dict for name in names):
        return
    doubled = [Scale(point=f"{part}.0.attn.hook_result", by=2.0)]
    before, added, after = (vlm.run(inputs, doubled, save=names).saved[name] for name in names)
    assert_close(before + added, after)


@pytest.mark.parametrize("part", ["vision.blocks", "blocks"])
def test_an_edit_of_the_keys_leaves_queries_and_values(vlm, inputs, part):
    """Also where one projection makes all three."""
    names = {p: f"{part}.0.attn.hook_{p}" for p in ("q", "k", "v", "rot_k")}
    names = {p: name for p, name in names.items() if name in vlm.hook_dict}
    clean, edited = (
        vlm.run(inputs, edits, save=list(names.values())).saved
        for edits in ([], [Scale(point=names["k"], by=2.0)])
    )
    for side in "qv":
        assert torch.equal(edited[names[side]], clean[names[side]])
    if "rot_k" in names and vlm.config.model_type != "llama4":  # which norms what it rotated
        assert_close(edited[names["rot_k"]], 2 * clean[names["rot_k"]])


@pytest.mark.parametrize("part", ["vision.", ""])
def test_the_first_block_reads_what_an_edit_makes_of_the_embedding(vlm, inputs, part):
    embedded, entering = f"{part}hook_embed", f"{part}blocks.0.hook_resid_pre"
    clean = vlm.run(inputs, save=embedded).saved[embedded]
    edited = vlm.run(inputs, [Scale(point=embedded, by=2.0)], save=entering).saved[entering]
    assert torch.equal(edited, 2 * clean)


def test_hidden_units_that_are_driven_far_below_zero_are_silent(vlm, inputs):
    """So what is called ``pre`` is what the activation function reads, and ``post`` follows it."""
    kept = {}

    def drive(x, hook):
        return torch.full_like(x, -100.0)

    def keep(x, hook):
        kept[hook.name] = x

    driven = [name for name in vlm.hook_dict if name.endswith("mlp.hook_pre")]
    told = [name.replace("hook_pre", "hook_post") for name in driven]
    edits = [(name, drive) for name in driven]
    vlm.run_with_hooks(inputs, fwd_hooks=[*edits, *((name, keep) for name in told)])
    assert len(kept) == len(driven) > 0
    for name, hidden in kept.items():
        assert hidden.abs().max() < 1e-6, name


def test_only_blocks_with_experts_hide_their_units(vlm):
    blocks = vlm.hf_model.get_submodule(vlm.family.lm_layers)
    for layer, block in enumerate(blocks):
        if "some experts only" in vlm.absent.get(f"blocks.{layer}.mlp.hook_pre", ""):
            assert any(name.endswith("experts") for name, _ in block.named_modules()), layer


def test_every_further_projector_is_offered(vlm):
    deep = getattr(vlm.config.vision_config, "deepstack_visual_indexes", ())
    offered = [name for name in vlm.hook_dict if name.startswith("projector.deepstack.")]
    assert len(offered) == len(deep)


# 4. The pattern is causal, sums to one, and mixes the values into z.


def gates(vlm, inputs):
    """What Qwen3.5 multiplies what heads mixed with, layer by layer; 1 elsewhere."""
    blocks = vlm.hf_model.get_submodule(vlm.family.lm_layers)
    attending = [block.self_attn for block in blocks if hasattr(block, "self_attn")]
    if not vlm.config.model_type.startswith("qwen3_5"):
        return [1.0] * len(attending)
    found = []
    handles = [
        attention.q_proj.register_forward_hook(
            lambda module, args, out: found.append(
                out.unflatten(-1, (vlm.config.text_config.num_attention_heads, 2, -1))[..., 1, :]
            )
        )
        for attention in attending
    ]
    vlm.run(inputs)
    for handle in handles:
        handle.remove()
    return [gate.sigmoid() for gate in found]


def test_patterns(vlm, inputs):
    saved = vlm.run(
        inputs, save=["blocks.*.attn.hook_pattern", "blocks.*.attn.hook_v", "blocks.*.attn.hook_z"]
    ).saved
    pattern = saved.stack("blocks.*.attn.hook_pattern")
    values, z = each(saved, "blocks.*.attn.hook_v"), each(saved, "blocks.*.attn.hook_z")
    for row, layout in enumerate(inputs.layouts):
        own = torch.from_numpy(~layout.mask("pad"))
        assert_close(
            pattern[:, row][:, :, own].sum(-1), torch.ones(()).expand_as(pattern[:, row, :, own, 0])
        )
        assert (pattern[:, row][:, :, own][..., ~own] == 0).all()
    future = torch.ones(pattern.shape[-2:], dtype=torch.bool).triu(1)
    if bidirectional(vlm):
        for row, layout in enumerate(inputs.layouts):
            vision = torch.from_numpy(layout.mask("vision"))
            if vlm.config.model_type == "molmo2":  # what ends an image's rows is of it, too
                vision = inputs.tensors["mm_token_type_ids"][row].bool()
            inside = vision[:, None] & vision[None, :] & future
            assert (pattern[:, row][..., inside] > 0).any()
            if vlm.config.model_type != "paligemma":  # PaliGemma's whole prompt sees itself
                assert (pattern[:, row][..., future & ~inside] == 0).all()
    else:
        assert (pattern[..., future] == 0).all()
    for weights, v, mixed, gate in zip(pattern, values, z, gates(vlm, inputs), strict=True):
        repeated = v.repeat_interleave(weights.shape[1] // v.shape[2], 2)
        expected = torch.einsum("bhqk,bkhd->bqhd", weights, repeated) * gate
        for row, layout in enumerate(inputs.layouts):
            own = torch.from_numpy(~layout.mask("pad"))
            assert_close(expected[row, own], mixed[row, own])


def test_the_towers_patterns_mix_its_values(vlm, inputs):
    name = "vision.blocks.0.attn.hook_"
    if name + "pattern" not in vlm.hook_dict:
        return
    saved = vlm.run(inputs, save="vision.blocks.0.attn.*").saved
    pattern, z = saved[name + "pattern"], saved[name + "z"]
    mixed = torch.einsum("...hqk,...khd->...qhd", pattern, saved[name + "v"])
    own = (pattern.sum(-1) - 1).abs().amax(-2) < 1e-5  # not the padding of a picture
    assert own.any()
    assert_close(mixed[own], z[own])


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
    rope = vlm.rope
    for layer in range(vlm.layers):
        name = f"blocks.{layer}.attn.hook_"
        if re.search("convolves|running state", vlm.absent.get(name + "q", "")):
            assert (rope.step[layer] == 0).all()
            continue
        for side in "qk":
            if name + side not in vlm.hook_dict:
                assert "those of an earlier one" in vlm.absent[name + side]
                continue
            before, after = saved[name + side], saved[f"{name}rot_{side}"]
            if name + "cos" not in vlm.hook_dict:  # a layer that turns nothing
                assert torch.equal(before, after)
                assert (rope.step[layer] == 0).all()
                continue
            cos, sin = (saved[name + t][:, :, None] for t in ("cos", "sin"))
            if vlm.config.model_type == "llama4":  # which norms them after RoPE
                after = after * before.norm(dim=-1, keepdim=True) / after.norm(dim=-1, keepdim=True)
            assert_close(before.norm(dim=-1), after.norm(dim=-1))
            assert_close(rotate(before, cos, sin, rope.pairing), after)
            assert_close(unrotate(after, cos, sin, rope.pairing), before)
            assert (before - after).abs().max() > 0.1


@pytest.mark.parametrize("axis", [None, "time", "height", "width"])
def test_a_turn_is_a_move_of_the_position_ids(vlm, inputs, axis):
    if axis is not None and axis not in vlm.rope.axes:
        with pytest.raises(InputError, match="position"):
            vlm.rope.steps(axis)
        return
    ids = inputs.tensors["position_ids"].clone()
    if axis is None:
        ids += 3
    else:
        ids[vlm.rope.axes.index(axis)] += 3
    moved = replace(inputs, tensors=dict(inputs.tensors) | {"position_ids": ids})
    point = "blocks.0.attn.hook_rot_k"
    before, after = (vlm.run(given, save=point).saved[point] for given in (inputs, moved))
    assert_close(vlm.rope[0].shift(before, 3.0, axis), after)
    assert (before - after).abs().max() > 1e-3


def test_axes_count_what_they_are_called(vlm, inputs):
    """An image's patches share a time; their height and width are their rows and columns."""
    if vlm.rope.axes == ("position",):
        return
    time, height, width = (vlm.rope.axes.index(name) for name in ("time", "height", "width"))
    for row, layout in enumerate(inputs.layouts):
        here = layout.vision(0)
        ids = inputs.tensors["position_ids"][:, row, torch.from_numpy(here)].numpy()
        start = ids[time, 0]
        assert len(set(layout.row[here])) > 1
        assert (ids[time] == start).all()
        assert (ids[height] - start == layout.row[here]).all()
        assert (ids[width] - start == layout.column[here]).all()


def test_rope_in_the_tower(vlm, inputs):
    name = "vision.blocks.0.attn.hook_"
    if name + "cos" not in vlm.hook_dict:
        return
    saved = vlm.run(inputs, save="vision.blocks.0.attn.*").saved
    ways = 2 if vlm.config.model_type == "gemma4" else 1  # across and down turn a half each
    cos, sin = (saved[name + t][..., None, :].unflatten(-1, (ways, -1)) for t in ("cos", "sin"))
    for side in "qk":
        before, after = (
            saved[name + turned + side].unflatten(-1, (ways, -1)) for turned in ("", "rot_")
        )
        assert_close(rotate(before, cos, sin), after)
        assert_close(unrotate(after, cos, sin), before)
        assert (before - after).abs().max() > 0.1


#: Families whose towers take patches row by row; the others two by two, as they are merged.
BY_ROW = ("mistral3", "lighton_ocr", "paddleocr_vl")


def test_a_towers_rotation_is_a_step_on_the_grid(vlm, inputs):
    """A patch's key, turned by a row or a column, is as if it stood at its neighbour."""
    rope = vlm.vision_rope
    if rope is None:
        return
    assert rope.axes == ("height", "width")
    name = "vision.blocks.0.attn.hook_"
    saved = vlm.run(inputs, save="vision.blocks.0.attn.*").saved
    by_row = vlm.config.model_type in BY_ROW
    below = vlm.run(inputs).inputs.layouts[0].grid()[1] * 2 if by_row else 2
    for axis, neighbour in (("width", 1), ("height", below)):
        cos, sin = (saved[name + t][neighbour, None] for t in ("cos", "sin"))
        there = rotate(saved[name + "k"][0], cos, sin)
        assert_close(rope[0].shift(saved[name + "rot_k"][0], 1.0, axis), there)
        assert (there - saved[name + "rot_k"][0]).abs().max() > 1e-3


# 6. Rows computed from rotated q and k equal the eager pattern.


def test_rows_equal_eager(vlm, inputs):
    whole = vlm.run(inputs, save="blocks.*.attn.hook_pattern", attention="eager")
    assert whole.attention == "eager"
    wanted = vl.Save("blocks.*.attn.hook_pattern", rows=("last", 2))
    rows = vlm.run(inputs, save=wanted, attention="eager").saved
    got = rows.stack("blocks.*.attn.hook_pattern")
    for row, layout in enumerate(inputs.layouts):
        own = (~layout.mask("pad")).nonzero()[0]
        at = torch.tensor([own[2], own[-1]])
        expected = whole.saved.stack("blocks.*.attn.hook_pattern")[:, row][:, :, at]
        assert_close(got[:, row], expected)


def test_eager_patterns_are_transformers_own(vlm):
    alone = vlm.inputs([picture(0)], [QUESTIONS[0]])
    # Gemma 4 does not scale its scores down: what rounding differs by, its softmax enlarges. A soft
    # cap is left out of some implementations by earlier versions of transformers, and eager has it.
    exact = vlm.config.model_type != "gemma4" and vlm.softcap is None
    road = "auto" if exact else "eager"
    ours = vlm.run(alone, save="blocks.*.attn.hook_pattern", attention=road).saved
    model = type(vlm.hf_model)(copy.deepcopy(vlm.hf_model.config))
    model.load_state_dict(vlm.hf_model.state_dict())
    model.set_attn_implementation("eager")
    with torch.no_grad():
        theirs = model.eval()(**alone.tensors, output_attentions=True, use_cache=False).attentions
    for own, attention in zip(ours.values(), theirs, strict=True):
        assert_close(own, attention)


# 7. Batches, padding sides, several images and decoding agree with one by one.


@pytest.mark.parametrize("padding", ["left", "right"])
def test_a_batch_of_different_sizes_agrees_with_one_by_one(vlm, padding):
    pictures = [picture(0), picture(1, (90, 40))]
    batch = vlm.inputs(pictures, list(QUESTIONS), padding=padding)
    logits = vlm.run(batch).logits
    for row, (image, question) in enumerate(zip(pictures, QUESTIONS, strict=True)):
        alone = vlm.run(vlm.inputs([image], [question])).logits[0]
        assert_close(logits[row, torch.from_numpy(~batch.layouts[row].mask("pad"))], alone)


def landed(vlm, given):
    """What is at the images' patches when the language model begins."""
    saved = vlm.run(given, save="hook_embed").saved["hook_embed"]
    return [
        [saved[row, torch.from_numpy(layout.vision(image))] for image in range(layout.images)]
        for row, layout in enumerate(given.layouts)
    ]


def test_two_images_land_where_their_layout_says(vlm):
    one, two = picture(0), picture(1, (90, 40))
    both = vlm.inputs([[one, two]], ["What is left of it?"])
    assert both.layouts[0].images == 2
    (found,) = landed(vlm, both)
    if vlm.config.model_type == "llava_onevision":  # several images are not cut into tiles
        assert [len(tokens) for tokens in found] == [16, 16]
        return
    for tokens, image in zip(found, (one, two), strict=True):
        ((alone,),) = landed(vlm, vlm.inputs([image], ["What?"]))
        assert_close(tokens, alone)


def test_decoding_with_the_cache_agrees_with_one_pass(vlm, inputs):
    generation = vlm.generate(inputs, max_new_tokens=5, stop=False, save="blocks.*.attn.hook_z")
    grown = inputs.appended(generation.tokens)
    whole = vlm.run(grown, save="blocks.*.attn.hook_z")
    start = len(inputs.layouts[0]) - 1
    for number, step in enumerate(generation.steps):
        # Every step stands on the keys of those before it, and is padded to another length.
        deep = 4 * DEPTH * (1 + number)
        assert_close(step.logits[:, -1], whole.logits[:, start + number], depth=deep)
        for name, z in step.saved.items():
            assert_close(z[:, -1], whole.saved[name][:, start + number], depth=deep)


def test_what_a_generation_saved_is_in_its_steps(vlm, inputs):
    generation = vlm.generate(inputs, max_new_tokens=1, save="hook_embed")
    assert "hook_embed" in generation.steps[0].saved
    with pytest.raises(InputError, match=r"steps\[0\]"):
        _ = generation.saved


def test_what_is_generated_is_no_image_and_no_prompt(vlm, inputs):
    grown = inputs.appended(torch.tensor([[5], [7]])).tensors
    for name in vlm.family.per_token:
        assert (grown[name][:, -1] == int(vlm.config.model_type == "paligemma")).all()
        assert torch.equal(grown[name][:, :-1], inputs.tensors[name])


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


def test_raw_tensors_are_laid_out_like_samples(vlm, images):
    made, pixels = images
    raw = vlm.inputs_from(made.tensors["input_ids"], sizes=[(40, 40)], **pixels)
    assert set(raw.tensors) == set(made.tensors)
    for name, tensor in made.tensors.items():
        assert torch.equal(raw.tensors[name], tensor), name
    (one,), (other,) = raw.layouts, made.layouts
    for name in ("image", "tile", "row", "column"):
        assert (getattr(one, name) == getattr(other, name)).all(), name
    assert np.array_equal(one.box, other.box, equal_nan=True)


def test_raw_images_are_dealt_to_their_own_samples(vlm):
    sizes = [(40, 40), (90, 40)]
    made = vlm.inputs([picture(0), picture(1, sizes[1])], list(QUESTIONS))
    tensors = {
        name: tensor
        for name, tensor in made.tensors.items()
        if name not in ("input_ids", "position_ids", *vlm.family.per_token)
    }
    raw = vlm.inputs_from(made.tensors["input_ids"], sizes=sizes, **tensors)
    for one, other in zip(raw.layouts, made.layouts, strict=True):
        for name in ("image", "tile", "row", "column"):
            assert (getattr(one, name) == getattr(other, name)).all(), name
        assert np.array_equal(one.box, other.box, equal_nan=True)


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
    with pytest.raises(EmptySelectionError, match=r"layers=0 holds none of .* in layer 1: leave"):
        vlm.run(inputs, [ZeroAblate(point="blocks.1.hook_resid_pre", where=vl.Where(layers=0))])
    with pytest.raises(EmptySelectionError, match="no head 64"):
        vlm.run(inputs, [KnockOut(where=vl.Where(heads=64))])
    with pytest.raises(UnknownRoleError, match="vision"):
        vlm.run(inputs, [KnockOut(where=vl.Where(keys="visoin"))])
    with pytest.raises(EmptySelectionError, match="this input has"):
        vlm.run(inputs, [KnockOut(where=vl.Where(keys="assistant"))])
    with pytest.raises(EmptySelectionError, match="axes batch pos d_model"):
        vlm.run(inputs, [ZeroAblate(point="hook_embed", where=vl.Where(heads=0))])
    with pytest.raises(UnknownPointError):
        vlm.run(inputs, [PatchFrom(point="hook_embed", source=vlm.run(inputs).saved)])


def test_a_point_that_is_never_reached(vlm):
    if vlm.config.model_type == "paligemma":
        with pytest.raises(InputError, match="images"):
            vlm.inputs([[]], ["What color is the circle?"])
    text_only = vlm.inputs_from(torch.tensor([[1, 50, 60, 70]]))
    assert text_only.layouts[0].images == 0
    with pytest.raises(UnreachedPointError, match="no image"):
        vlm.run(text_only, save="vision.blocks.0.hook_resid_pre")
    with pytest.raises(UnreachedPointError):
        vlm.run(text_only, [Scale(point="projector.hook_out", by=2.0)])


# 10. Hooks never outlive the call that set them.


def torch_hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_hooks_never_outlive_their_call(vlm, inputs):
    clean = vlm.run(inputs).logits  # first: transformers puts its own on in the first pass
    before = torch_hooks(vlm.hf_model)

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
    assert_apart(vlm.run(inputs).logits, clean)
    vlm.reset_hooks()
    assert torch.equal(vlm.run(inputs).logits, clean)


def test_every_block_point_is_offered_or_its_absence_explained(vlm):
    for prefix, layers in (
        ("", vlm.layers),
        ("vision.", len(vlm.hf_model.get_submodule(vlm.family.vision_layers))),
    ):
        for layer in range(layers):
            for point in BLOCK_POINTS:
                name = f"{prefix}blocks.{layer}.{point.name}"
                assert (name in vlm.hook_dict) != (name in vlm.absent), name
