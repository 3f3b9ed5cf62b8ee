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


#: The tiny Qwen's tokenizer has a first token, which Qwen's own has not: the bridge knows by name.
STACKED = ("W_Q", "W_K", "W_V", "W_O", "W_in", "W_out", "W_gate", "W_U")
SETTINGS = ("n_layers", "n_heads", "n_key_value_heads", "d_model", "d_head", "d_mlp", "d_vocab")
SETTINGS += ("d_vocab_out", "n_ctx", "act_fn", "gated_mlp", "eps", "normalization_type", "dtype")
SETTINGS += ("tokenizer_prepends_bos", "attn_only", "positional_embedding_type", "model_name")


def test_settings_weights_and_circuits_are_transformer_lenss(vlm, bridge):
    for name in SETTINGS:
        assert getattr(vlm.cfg, name) == getattr(bridge.cfg, name), name
    for name in STACKED:
        assert torch.equal(getattr(vlm, name), getattr(bridge, name)), name
    for name in ("OV", "QK"):
        assert_close(getattr(vlm, name).AB, getattr(bridge, name).AB)
    assert torch.equal(vlm.b_U, bridge.b_U)
    if bridge.blocks[1].attn.b_Q is not None:
        for name in ("b_Q", "b_K", "b_V"):
            assert torch.equal(getattr(vlm, name), getattr(bridge, name)), name
    assert not vlm.b_O.any() and not vlm.b_out.any()  # zeros here, none there
    scale = 32**0.5 if vlm.config.model_type == "gemma3" else 1  # Gemma scales its embeddings
    assert_close(vlm.W_E, bridge.W_E * scale)
    assert vlm.all_head_labels == bridge.all_head_labels


def test_texts_and_tokens_are_transformer_lenss(vlm, bridge):
    for text in ("the red circle", ["left", "left of the star"]):
        for bos in (True, False):
            for side in ("left", "right"):
                ours = vlm.to_tokens(text, prepend_bos=bos, padding_side=side)
                assert torch.equal(ours, bridge.to_tokens(text, prepend_bos=bos, padding_side=side))
                assert vlm.to_string(ours) == bridge.to_string(ours)
        assert vlm.to_str_tokens(text, True) == bridge.to_str_tokens(text, True)
    word = vlm.to_str_tokens("the red circle", prepend_bos=False)[-1]
    assert vlm.to_single_token(word) == bridge.to_single_token(word)
    token = vlm.to_single_token(word)
    assert vlm.to_single_str_token(token) == bridge.to_single_str_token(token)
    where = vlm.get_token_position(word, "the red circle", prepend_bos=True)
    assert where == bridge.get_token_position(word, "the red circle", prepend_bos=True)
    ids = torch.tensor([[3, 4], [5, 6]])
    assert torch.equal(
        vlm.tokens_to_residual_directions(ids), bridge.tokens_to_residual_directions(ids)
    )


@pytest.fixture(scope="module", params=["llava", "llava/siglip-qwen2", "qwen2_5_vl"])
def text(request):
    """A model, its cache and the bridge's of one text, whose embeddings are the same."""
    with vl.HookedVLM(*build(request.param)) as model:
        inputs = model.inputs_from(torch.tensor([[41, 42, 43, 44, 45], [46, 47, 48, 49, 50]]))
        _, ours = model.run_with_cache(inputs, attention="eager")
        given = dict(inputs.tensors)
        bridge = to_bridge(model)
        with torch.no_grad():
            _, theirs = bridge.run_with_cache(given.pop("input_ids"), **given)
        yield model, ours, bridge, theirs


#: What both are asked; ``gain``: whose norm's gain theirs leaves to weights that were folded.
ASKED = [
    ("decompose_resid", {}, None),
    ("decompose_resid", {"layer": 2, "mlp_input": True, "pos_slice": -1}, None),
    ("decompose_resid", {"apply_ln": True}, "final"),
    ("decompose_resid", {"layer": 1, "apply_ln": True, "pos_slice": (1, 3)}, "blocks.1.ln1"),
    ("decompose_resid", {"layer": 1, "apply_ln": True, "mlp_input": True}, "blocks.1.ln2"),
    ("accumulated_resid", {"incl_mid": True}, None),
    ("accumulated_resid", {"apply_ln": True}, None),
    ("accumulated_resid", {"layer": 2, "apply_ln": True, "incl_mid": True}, "blocks.2.ln1"),
    ("accumulated_resid", {"layer": 2, "apply_ln": True, "mlp_input": True}, "blocks.2.ln2"),
    ("stack_head_results", {"incl_remainder": True}, None),
    ("stack_head_results", {"layer": 2, "apply_ln": True, "pos_slice": -1}, "blocks.2.ln1"),
    ("stack_neuron_results", {"layer": 2}, None),
    ("stack_neuron_results", {"layer": -1, "incl_remainder": True, "pos_slice": [0, 2]}, None),
    (
        "stack_neuron_results",
        {"layer": 2, "neuron_slice": (3, 7), "apply_ln": True},
        "blocks.2.ln1",
    ),
    ("stack_neuron_results", {"layer": 1, "neuron_slice": 5, "incl_remainder": True}, None),
    ("stack_neuron_results", {"layer": 1, "mlp_input": True, "incl_remainder": True}, None),
    ("get_full_resid_decomposition", {}, None),
    ("get_full_resid_decomposition", {"expand_neurons": False, "apply_ln": True}, "final"),
    ("get_full_resid_decomposition", {"layer": 1, "mlp_input": True, "pos_slice": -1}, None),
]


@pytest.mark.parametrize(("method", "options", "gain"), ASKED)
@pytest.mark.parametrize("batchless", [False, True])
def test_the_caches_tools_are_transformer_lenss(text, method, options, gain, batchless):
    model, ours, _, theirs = text
    if batchless:
        ours, theirs = ours.apply_slice_to_batch_dim(1), theirs.apply_slice_to_batch_dim(1)
    layer = options.get("layer")
    options = options | ({"layer": model.layers} if layer == -1 else {})
    with torch.no_grad():
        here, names = getattr(ours, method)(**options, return_labels=True)
        there, labels = getattr(theirs, method)(**options, return_labels=True)
    norm = model.ln_final if gain == "final" else None
    for word in (gain or "").split(".")[-1:] if gain and gain != "final" else ():
        norm = getattr(model.blocks[int(gain.split(".")[1])], word)
    assert list(map(str, names)) == list(map(str, labels))
    assert_close(here, there if norm is None else there * norm.w)


def test_projections_are_transformer_lenss(text):
    model, ours, _, theirs = text
    torch.manual_seed(0)
    one, two = torch.randn(model.cfg.d_model), torch.randn(model.cfg.d_model, 2)
    with torch.no_grad():
        for onto in (one, two):
            for options in ({"layer": 2}, {"layer": 1, "pos_slice": -1, "incl_remainder": True}):
                here = ours.stack_neuron_results(**options, project_output_onto=onto)
                assert_close(here, theirs.stack_neuron_results(**options, project_output_onto=onto))
            here = ours.get_neuron_results(1, (2, 9), -1, project_output_onto=onto)
            assert_close(here, theirs.get_neuron_results(1, (2, 9), -1, project_output_onto=onto))
            here = ours.get_full_resid_decomposition(2, project_output_onto=onto)
            assert_close(here, theirs.get_full_resid_decomposition(2, project_output_onto=onto))
        assert_close(ours.get_neuron_results(0, 4), theirs.get_neuron_results(0, 4))


@pytest.mark.parametrize("batchless", [False, True])
def test_attributions_are_transformer_lenss_of_folded_weights(text, batchless):
    """Folding moves the gain into the unembedding, so that theirs has it, too."""
    model, ours, _, _ = text
    folded = to_bridge(model)
    folded.enable_compatibility_mode(disable_warnings=True)
    tokens = torch.tensor([[41, 42, 43, 44, 45], [46, 47, 48, 49, 50]])
    with torch.no_grad():
        _, theirs = folded.run_with_cache(tokens)
    if batchless:
        ours, theirs = ours.apply_slice_to_batch_dim(0), theirs.apply_slice_to_batch_dim(0)
    asked = [(7, 9)] if batchless else [(7, 9), (torch.tensor([7, 8]), torch.tensor([9, 3]))]
    for right, wrong in asked:
        how = {} if batchless else {"batch_slice": None}
        with torch.no_grad():
            here = ours.logit_attrs(ours.accumulated_resid(), right, wrong, **how)
            there = theirs.logit_attrs(
                theirs.accumulated_resid(), right, wrong, has_batch_dim=not batchless
            )
        assert_close(here, there)


def test_a_cache_is_changed_where_it_is_as_in_transformer_lens(text):
    model, ours, _, theirs = text
    one = model.inputs_from(torch.tensor([[41, 42, 43]]))
    _, cache = model.run_with_cache(one)
    assert cache.has_batch_dim and cache.has_embed and not cache.has_pos_embed
    assert cache.to("cpu") is cache and cache.cpu() is cache
    before = {name: x.clone() for name, x in cache.cache_dict.items()}
    digest = cache.digest
    assert cache.remove_batch_dim() is cache and not cache.has_batch_dim
    assert cache.digest != digest
    for name, x in cache.items():
        batched = "batch" in model.hook_dict[name].axes
        assert torch.equal(x, before[name][0] if batched else before[name]), name
    for which in ((0, 1), [1], None):
        here, there = ours.apply_slice_to_batch_dim(which), theirs.apply_slice_to_batch_dim(which)
        assert_close(here["z", 1], there["z", 1])
    _, fresh = model.run_with_cache(one, names_filter="blocks.*.attn.hook_z")
    fresh.compute_head_results()
    assert_close(fresh["result", 1], before["blocks.1.attn.hook_result"])


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
