"""TransformerLens's tools on a model: weights do what the pass does, names mean what they say."""

import numpy as np
import pytest
import torch
from as_users import as_users
from closeness import assert_close
from conftest import EVERY, build, by_turns, picture

import vlmlens as vl
from vlmlens.cache.cutting import cut
from vlmlens.errors import InputError, UnknownPartError, UnknownPointError, UnsupportedModelError
from vlmlens.model.doors.tools import REFUSED
from vlmlens.model.reading.weights import STACKED


@pytest.fixture(scope="module", params=by_turns(EVERY))
def vlm(request):
    """Every tiny model."""
    with vl.HookedVLM(*build(request.param), name=request.param) as model:
        yield model


@pytest.fixture(scope="module")
def saved(vlm):
    """Everything of one picture and a question."""
    inputs = vlm.inputs([picture(0)], ["What color is the circle?"])
    return vlm.run_with_cache(inputs)[1]


def stacks(vlm):
    """Every block of every stack that the pass reaches."""
    return [
        (f"{stack}.{at}", vlm.vision.blocks[at] if "vision" in stack else vlm.blocks[at])
        for stack in ("vision.blocks", "blocks")
        for at in range(vlm.depth(stack))
    ]


def has(saved, *names):
    return all(name in saved for name in names)


def test_the_weights_of_mlps_do_what_the_pass_does(vlm, saved):
    """hook_in -> hook_pre, hook_pre_linear; hook_post -> what the down projection made."""
    tried = 0
    for name, block in stacks(vlm):
        read, pre, linear, post = (
            f"{name}.mlp.hook_{x}" for x in ("in", "pre", "pre_linear", "post")
        )
        if not has(saved, read, pre, post):
            continue
        if vlm.config.model_type == "gemma4" and "vision" in name:
            with pytest.raises(UnsupportedModelError, match="no linear module"):
                block.mlp.W_in  # noqa: B018  what it projects is clipped
            continue
        tried += 1
        mlp = block.mlp
        if linear in saved:
            assert_close(saved[read] @ mlp.W_gate + mlp.b_gate, saved[pre])
            assert_close(saved[read] @ mlp.W_in + mlp.b_in, saved[linear])
        else:
            assert_close(saved[read] @ mlp.W_in + mlp.b_in, saved[pre])
        module = vlm.hook_dict[post].module
        with torch.no_grad():
            assert_close(saved[post] @ mlp.W_out + mlp.b_out, module(saved[post]))
    assert tried


def test_the_weights_of_heads_do_what_the_pass_does(vlm, saved):
    """The normed stream -> values; z -> each head's write."""
    tried = 0
    for name, block in stacks(vlm):
        z, result = f"{name}.attn.hook_z", f"{name}.attn.hook_result"
        if not has(saved, z, result):
            continue
        tried += 1
        wrote = torch.einsum("...hd,hdm->...hm", saved[z], block.attn.W_O)
        assert_close(wrote, saved[result])
        normed, value = f"{name}.ln1.hook_normalized", f"{name}.attn.hook_v"
        plain = f"{name}.hook_v_input" in vlm.hook_dict and vlm.config.model_type != "gemma4"
        if plain and has(saved, normed, value) and saved[value].ndim == saved[normed].ndim + 1:
            made = torch.einsum("...m,hmd->...hd", saved[normed], block.attn.W_V)
            assert_close(made + block.attn.b_V, saved[value])
        if not has(saved, normed, f"{name}.attn.hook_q", f"{name}.attn.hook_k"):
            continue
        if "norm" in vlm.hook_dict[f"{name}.attn.hook_q"].tap.module:
            continue  # normed once more
        for side in "qk":
            made = saved[normed][..., None, None, :] @ getattr(block.attn, f"W_{side.upper()}")
            made = made[..., 0, :] + getattr(block.attn, f"b_{side.upper()}")
            assert_close(made, saved[f"{name}.attn.hook_{side}"])
    assert tried


def test_the_two_ends_do_what_the_pass_does(vlm, saved):
    normed = saved["ln_final.hook_normalized"]
    assert_close(normed @ vlm.W_U + vlm.b_U, saved["hook_logits"])
    ids = torch.arange(20, 30)[None]
    words = vlm.run(vlm.inputs_from(ids), save="hook_embed").saved["hook_embed"]
    assert_close(vlm.W_E[ids], words)
    with torch.no_grad():
        assert torch.equal(vlm.unembed(normed), saved["hook_logits"])
        last = saved["resid_post", -1]
        if f"blocks.{vlm.layers - 1}.hook_resid_post" in saved:
            assert_close(vlm.ln_final(last), normed)


def test_settings_are_those_of_the_weights(vlm):
    cfg = vlm.cfg
    assert (cfg.n_layers, len(vlm.blocks)) == (vlm.layers, vlm.layers)
    assert tuple(vlm.W_U.shape) == (cfg.d_model, cfg.d_vocab_out)
    assert tuple(vlm.W_E.shape) == (cfg.d_vocab, cfg.d_model)
    heads = [
        block.attn.W_O.shape
        for at, block in enumerate(vlm.blocks)
        if f"blocks.{at}.attn.hook_result" in vlm.hook_dict
    ]
    assert (cfg.n_heads, cfg.d_head, cfg.d_model) in {tuple(shape) for shape in heads}
    assert len(vlm.all_head_labels) == cfg.n_layers * cfg.n_heads


def test_texts_become_tokens_as_in_prompts_and_come_back(vlm):
    tokens = vlm.to_tokens("the red circle")
    words = vlm.processor.tokenizer("the red circle", add_special_tokens=False)["input_ids"]
    assert tokens[0].tolist() == [vlm.processor.tokenizer.bos_token_id, *words]
    assert vlm.to_tokens("the red circle", prepend_bos=False)[0].tolist() == words
    assert vlm.to_string(tokens[0, 1:]) == "the red circle"
    assert vlm.to_string(tokens[:, 1:].numpy()) == ["the red circle"]
    pieces = vlm.to_str_tokens("the red circle", prepend_bos=False)
    assert "".join(pieces) == "the red circle"
    assert vlm.to_str_tokens(["the red circle"], prepend_bos=False) == [pieces]
    assert vlm.to_str_tokens(tokens)[1:] == pieces
    assert vlm.to_single_str_token(vlm.to_single_token(pieces[-1])) == pieces[-1]
    assert vlm.get_token_position(pieces[-1], "the red circle") == len(words)
    both = vlm.to_tokens(["the red circle", "red"], padding_side="left")
    assert both[1, -1] == vlm.to_tokens("red")[0, -1]
    assert both[1, 0] == vlm.processor.tokenizer.pad_token_id
    column = vlm.tokens_to_residual_directions(pieces[-1])
    assert torch.equal(column, vlm.W_U[:, words[-1]])


# Of one model.


@pytest.fixture(scope="module")
def llava():
    with vl.HookedVLM(*build("llava/siglip-qwen2")) as model:
        yield model


def test_paths_lead_to_points_and_weights(llava):
    assert llava.blocks[-1].attn.hook_z is llava.hook_dict["blocks.2.attn.hook_z"]
    assert llava.vision.hook_embed is llava.hook_dict["vision.hook_embed"]
    assert {"W_O", "hook_z", "b_Q"} <= set(dir(llava.blocks[0].attn))
    for name in dir(llava.blocks[0].attn):
        assert getattr(llava.blocks[0].attn, name) is not None
    for name, part in STACKED.items():
        stack = getattr(llava, name)
        for at, block in enumerate(llava.blocks):
            assert torch.equal(stack[at], getattr(getattr(block, part), name))


def test_a_weight_that_is_asked_for_is_the_one_that_is_read(llava):
    """A module that is no plain linear one, as quantised ones are not, is called."""

    class Other(torch.nn.Linear):
        pass

    block = llava.hf_model.get_submodule(llava.family.lm_layers)[0].self_attn
    before = block.q_proj
    read, bias = llava.blocks[0].attn.W_Q, llava.blocks[0].attn.b_Q
    other = Other(before.in_features, before.out_features)
    other.load_state_dict(before.state_dict())
    with vl.HookedVLM(*build("llava/siglip-qwen2")) as twin:
        twin.hf_model.get_submodule(twin.family.lm_layers)[0].self_attn.q_proj.__class__ = Other
        assert_close(twin.blocks[0].attn.W_Q, read)
        assert_close(twin.blocks[0].attn.b_Q, bias)


@pytest.mark.parametrize(
    ("take", "error", "says"),
    [
        (lambda m: m.blocks[0].attn.W_q, UnknownPartError, "did you mean .*W_Q"),
        (lambda m: m.blocks[9], InputError, "blocks=9"),
        (lambda m: m.cfg.n_layer, UnknownPartError, "did you mean n_layers"),
        (lambda m: setattr(m.cfg, "use_attn_result", False), InputError, "would change nothing"),
        (lambda m: setattr(m.cfg, "banana", 1), InputError, "would change nothing"),
        (lambda m: setattr(m.blocks[0].attn, "W_O", 0), InputError, "hf_model"),
        (lambda m: m.blocks[0].attn(torch.ones(1)), InputError, "save="),
        (lambda m: m.set_use_attn_result(False), InputError, "cost nothing"),
        (lambda m: m.to_tokens(3), InputError, "text"),
        (lambda m: m.to_tokens([]), InputError, "text"),
        (lambda m: m.to_tokens("a", padding_side="up"), InputError, "left, right"),
        (lambda m: m.to_single_token("the red circle"), InputError, "tokens, not one"),
        (lambda m: m.to_string(["a"]), InputError, "whole number"),
        (lambda m: m.to_string([[[1]]]), InputError, "dimensions"),
        (lambda m: m.get_token_position(" red", "blue"), InputError, "not among"),
        (lambda m: m.to_str_tokens(torch.ones(2, 2, dtype=torch.long)), InputError, "2 samples"),
    ],
)
def test_what_is_not_there_is_refused_by_name(llava, take, error, says):
    with as_users(), pytest.raises(error, match=says):
        take(llava)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_done_says_what_is(llava, name):
    with pytest.raises(InputError, match=name):
        getattr(llava, name)


def test_switches_of_points_that_are_always_there(llava):
    llava.set_use_attn_result(True)
    llava.cfg.use_attn_result = True
    assert llava.cfg.use_split_qkv_input


def test_blocks_that_lack_a_weight_say_why():
    with vl.HookedVLM(*build("qwen3_5")) as model:
        with pytest.raises(InputError, match=r"running state.*model\.blocks\[layer\]\.attn"):
            model.W_O  # noqa: B018
        kinds = model.config.get_text_config().layer_types
        linear, full = kinds.index("linear_attention"), kinds.index("full_attention")
        with pytest.raises(UnknownPointError, match="running state"):
            model.blocks[linear].attn.W_O  # noqa: B018
        with pytest.raises(UnsupportedModelError, match="more than queries"):
            model.blocks[full].attn.W_Q  # noqa: B018
    with vl.HookedVLM(*build("llava")) as model, pytest.raises(UnknownPartError, match="no gate"):
        model.vision.blocks[0].mlp.W_gate  # noqa: B018


def test_a_model_without_a_tokenizer_says_so():
    with (
        vl.HookedVLM(build("llava")[0]) as model,
        pytest.raises(InputError, match="without a tokenizer"),
    ):
        model.to_tokens("red")


@pytest.mark.parametrize(
    "wanted", [(1, 0, -(10**30)), slice(None, None, -1), (5, 1, -2), [3, -1], -1, (-3, None), None]
)
def test_entries_are_those_of_numpy(wanted):
    index = slice(*wanted) if isinstance(wanted, tuple) else wanted
    x = torch.arange(24.0).reshape(2, 6, 2)
    expected = x.numpy() if wanted is None else x.numpy()[:, index]
    assert np.array_equal(cut(x, wanted, 1, "pos_slice"), expected)


@pytest.mark.parametrize("wanted", ["last", (), (1, 2, 3, 4), (0, 5, 0), 6, [6], [], 1.5, (9, 12)])
def test_entries_that_are_not_there_are_refused(wanted):
    with pytest.raises(InputError, match="pos_slice"):
        cut(torch.zeros(2, 6), wanted, 1, "pos_slice")


def test_a_class_in_a_functions_place_and_a_device_without_values_are_refused():
    with as_users(), vl.HookedVLM(*build("llava")) as vlm:
        inputs = vlm.inputs([picture(0)], ["Is it red?"])
        with pytest.raises(InputError, match="is a class"):
            vl.interventions.Edit("hook_embed", by=torch.nn.Tanh)  # not yet made
        for door in (
            lambda: vlm.run_with_cache(inputs, torch.nn.Tanh),
            lambda: vlm.add_hook("hook_embed", torch.nn.Tanh),
            lambda: vlm.hook_dict["hook_embed"].add_hook(torch.nn.Tanh),
            lambda: vl.Save("hook_embed", reduce=torch.nn.Tanh),
        ):
            with pytest.raises(InputError, match="is a class"):
                door()
        saved = vlm.run(inputs, save="hook_embed").saved
        for place in ("meta", 10**30, ["cpu"], "cuda:-7"):
            with pytest.raises(InputError, match="device="):
                saved.to(place)
        assert saved["hook_embed"].device.type == "cpu"
