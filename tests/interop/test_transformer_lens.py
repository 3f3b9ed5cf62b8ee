"""The TransformerBridge of a model agrees with vlmlens, and is a copy."""

import copy

import pytest
import torch
from closeness import assert_close
from conftest import QUESTIONS, TINY, build, picture
from einops import rearrange

import vlmlens as vl
from vlmlens.errors import ClosedModelError, InputError, UnsupportedModelError
from vlmlens.interop import transformer_lens as interop
from vlmlens.interop.transformer_lens import bridge_logits, to_bridge
from vlmlens.model import ResidualStream

#: Points of one name and two meanings. ``hook_embed``: the bridge's is before images are merged.
#: ``hook_normalized``: before the norm's gain. (Queries of padding, which see nothing, have
#: patterns of zeros here and even ones there.)
NORMED = (
    "ln_final.hook_normalized",
    *(f"blocks.{layer}.ln{of}.hook_normalized" for layer in range(3) for of in (1, 2)),
)
DIFFERENT = ("hook_embed", *NORMED)


@pytest.fixture(scope="module")
def vlm(any_vlm):
    """Models of different kinds, in place of the two LLaVAs."""
    return any_vlm


@pytest.fixture(scope="module")
def bridge(vlm):
    return to_bridge(vlm)


def test_logits_are_the_same(vlm, inputs, bridge):
    ours = vlm.run(inputs, attention="eager").logits
    assert_close(bridge_logits(bridge, inputs.tensors), ours)


def test_it_is_a_copy(vlm, inputs, bridge):
    clean = vlm.run(inputs).logits
    twin = to_bridge(vlm)
    with torch.no_grad():
        for parameter in twin.original_model.parameters():
            parameter.zero_()
    assert torch.equal(vlm.run(inputs).logits, clean)
    assert not bridge_logits(bridge, inputs.tensors).eq(0).all()


def test_the_unembedding_is_the_models(vlm, bridge):
    head = vlm.hf_model.get_submodule(vlm.family.lm_head).weight
    assert torch.equal(bridge.W_U, head.T)
    assert bridge.cfg.n_layers == vlm.layers


# Of a LLaVA, everything that both know.


@pytest.fixture(scope="module")
def llava():
    with vl.HookedVLM(*build(next(iter(TINY)))) as opened:
        yield opened


@pytest.fixture(scope="module")
def pair(llava):
    """What both see of two samples with an image each."""
    inputs = llava.inputs([picture(0), picture(1)], list(QUESTIONS))
    _, ours = llava.run_with_cache(inputs, attention="eager")
    given = dict(inputs.tensors)
    with torch.no_grad():
        _, theirs = to_bridge(llava).run_with_cache(given.pop("input_ids"), **given)
    return inputs, ours, theirs


def test_points_of_one_name_hold_the_same(llava, pair):
    inputs, ours, theirs = pair
    common = [name for name in ours if name in theirs and name not in DIFFERENT]
    points = {"hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_attn_out"}
    points |= {"hook_mlp_out", "attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_z"}
    points |= {"attn.hook_pattern", "mlp.hook_pre", "mlp.hook_post"}
    points |= {"ln1.hook_scale", "ln2.hook_scale"}
    assert {f"blocks.{layer}.{p}" for layer in range(llava.layers) for p in points} <= set(common)
    for name in common:
        for row, layout in enumerate(inputs.layouts):
            own = torch.from_numpy(~layout.mask("pad"))
            here, there = ours[name][row], theirs[name][row]
            if name.endswith(("hook_pattern", "hook_attn_scores")):
                here, there = here[:, own], there[:, own]
                seen = here.isfinite()  # hidden keys: minus infinity here, the lowest number there
                here, there = here[seen], there[seen]
            assert_close(here, there)


def test_points_of_one_name_that_differ_do_so_for_the_reason_given(llava, pair):
    inputs, ours, theirs = pair
    for row, layout in enumerate(inputs.layouts):
        words = torch.from_numpy(~layout.mask("vision", "pad"))
        here, there = ours["hook_embed"][row], theirs["hook_embed"][row]
        assert torch.equal(here[words], there[words])
        assert not torch.equal(here, there)
    for name in NORMED:  # TransformerLens's come before the gain
        gain = llava.hook_dict[name].module.weight.detach()
        for row, layout in enumerate(inputs.layouts):
            words = torch.from_numpy(~layout.mask("pad"))
            assert_close(ours[name][row][words], theirs[name][row][words] * gain)


def test_weights_of_heads_are_the_models(llava):
    bridge = to_bridge(llava)
    heads = bridge.cfg.n_heads
    for layer in range(llava.layers):
        attention = llava.hf_model.get_submodule(f"{llava.family.lm_layers}.{layer}.self_attn")
        out = rearrange(attention.o_proj.weight, "m (h d) -> h d m", h=heads)
        into = rearrange(attention.q_proj.weight, "(h d) m -> h m d", h=heads)
        assert torch.equal(bridge.blocks[layer].attn.W_O, out)
        assert torch.equal(bridge.blocks[layer].attn.W_Q, into)


def test_the_residual_stream_is_taken_apart_alike(llava):
    """On text, where the two embeddings are the same."""
    inputs = llava.inputs_from(torch.tensor([[41, 42, 43, 44, 45]]))
    _, saved = llava.run_with_cache(inputs, attention="eager")
    ours = ResidualStream(llava, saved)
    given = dict(inputs.tensors)
    with torch.no_grad():
        _, theirs = to_bridge(llava).run_with_cache(given.pop("input_ids"), **given)
        for method, options in (
            ("decompose_resid", {}),
            ("decompose_resid", {"layer": 1, "mlp_input": True, "pos_slice": -1}),
            ("decompose_resid", {"mode": "attn", "incl_embeds": False}),
            ("accumulated_resid", {}),
            ("accumulated_resid", {"incl_mid": True, "pos_slice": (1, 4)}),
            ("accumulated_resid", {"apply_ln": True}),
            ("stack_head_results", {"incl_remainder": True}),
            ("stack_head_results", {"layer": 1, "pos_slice": -1}),
        ):
            here, here_labels = getattr(ours, method)(**options, return_labels=True)
            there, there_labels = getattr(theirs, method)(**options, return_labels=True)
            assert here_labels == there_labels, method
            assert_close(here, there)
        # Theirs leaves the gain to weights that were folded.
        gain = llava.hf_model.get_submodule(llava.family.final_norm).weight
        assert_close(
            ours.decompose_resid(apply_ln=True), theirs.decompose_resid(apply_ln=True) * gain
        )
    assert torch.equal(saved["z", 1], saved["blocks.1.attn.hook_z"])
    assert_close(saved.stack_activation("pattern"), theirs.stack_activation("pattern"))


def test_its_tools_on_weights_work(llava):
    """Folded and centred weights give the same probabilities; scores between all heads."""
    inputs = llava.inputs_from(torch.tensor([[41, 42, 43, 44, 45]]))
    bridge = to_bridge(llava)
    bridge.enable_compatibility_mode(disable_warnings=True)
    ours = llava.run(inputs, attention="eager").logits.log_softmax(-1)
    assert_close(bridge_logits(bridge, inputs.tensors).log_softmax(-1), ours)
    layers, heads = bridge.cfg.n_layers, bridge.cfg.n_heads
    assert bridge.all_composition_scores("V").shape == (layers, heads, layers, heads)


# Refusals.


def test_hooks_are_not_copied_along(llava):
    llava.add_hook("hook_embed", lambda x, hook: x)
    with pytest.raises(InputError, match="reset_hooks"):
        to_bridge(llava)
    llava.reset_hooks()


def test_a_model_that_the_bridge_does_not_know_is_refused(llava, monkeypatch):
    monkeypatch.setattr(interop.ArchitectureAdapterFactory, "_adapters", {})
    with pytest.raises(UnsupportedModelError, match="no adapter for LlavaFor"):
        to_bridge(llava)


def test_a_bridge_with_other_logits_is_refused(llava):
    bridge = to_bridge(llava)
    with torch.no_grad():
        bridge.original_model.lm_head.weight.mul_(1.5)
    with pytest.raises(UnsupportedModelError, match="other logits"):
        interop._refuse_other_logits(llava, bridge)


def test_a_closed_model_has_no_bridge():
    model, processor = build(next(iter(TINY)))
    with vl.HookedVLM(copy.deepcopy(model), processor) as vlm:
        pass
    with pytest.raises(ClosedModelError):
        to_bridge(vlm)
