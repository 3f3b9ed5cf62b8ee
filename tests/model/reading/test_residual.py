"""The parts of the residual stream add up: to the stream, to the norm's output, to the logits."""

import pickle

import pytest
import torch
from closeness import assert_close
from conftest import EVERY, build, by_turns, picture
from torch import nn

import vlmlens as vl
from vlmlens.errors import InputError, UnknownPointError, UnsupportedModelError
from vlmlens.model import Norm, ResidualStream
from vlmlens.model.reading.residual import RESIDUAL

MORE = ("blocks.*.attn.*", "blocks.*.mlp.hook_p*")


#: Families whose stream is no sum of points: a per-layer embedding and a scale; layers that
#: convolve or attend linearly, whose writes are no points.
NO_SUM = ("gemma4", "gemma4/experts", "lfm2_vl", "qwen3_5", "qwen3_5_moe")


@pytest.mark.parametrize("name", NO_SUM)
def test_a_stream_that_is_no_sum_of_points_is_refused(name):
    with vl.HookedVLM(*build(name)) as model:
        given = model.inputs([picture()], ["What?"])
        stream = ResidualStream(model, model.run(given, save="blocks.*").saved)
        for take in (stream.decompose_resid, stream.stack_head_results):
            with pytest.raises((UnsupportedModelError, UnknownPointError)):
                take()


@pytest.fixture(scope="module", params=by_turns(name for name in EVERY if name not in NO_SUM))
def vlm(request):
    """Every tiny model whose stream is a sum of points."""
    with vl.HookedVLM(*build(request.param)) as model:
        yield model


@pytest.fixture(scope="module")
def run(vlm, inputs):
    return vlm.run(inputs, save=[*RESIDUAL, "ln_final.*", "hook_logits", *MORE])


@pytest.fixture(scope="module")
def stream(vlm, run):
    return ResidualStream(vlm, run.saved)


def has_mid(vlm):
    return "blocks.0.hook_resid_mid" in vlm.hook_dict


# To the stream.


def test_the_parts_sum_to_the_stream(vlm, stream, run):
    for layer in range(vlm.layers):
        assert_close(stream.decompose_resid(layer).sum(0), run.saved["resid_pre", layer])
        if has_mid(vlm):
            parts = stream.decompose_resid(layer, mlp_input=True)
            assert_close(parts.sum(0), run.saved["resid_mid", layer])
    assert_close(stream.decompose_resid().sum(0), run.saved["resid_post", -1])


def test_parts_have_names(vlm, stream, run):
    parts, labels = stream.decompose_resid(return_labels=True)
    assert len(parts) == len(labels)
    assert labels[0] == "embed"
    for label, part in zip(labels, parts, strict=True):
        layer, _, kind = label.partition("_")
        if kind != "added":
            assert torch.equal(part, run.saved[kind, int(layer)] if kind else parts[0]), label
    attn, names = stream.decompose_resid(mode="attn", incl_embeds=False, return_labels=True)
    assert names == [f"{layer}_attn_out" for layer in range(vlm.layers)]
    assert torch.equal(attn, run.saved.stack("blocks.*.hook_attn_out"))
    mlp = stream.decompose_resid(mode="mlp", incl_embeds=False)
    assert torch.equal(mlp, run.saved.stack_activation("mlp_out"))


def test_the_streams_one_after_the_other(vlm, stream, run):
    streams, labels = stream.accumulated_resid(return_labels=True)
    assert labels == [*(f"{layer}_pre" for layer in range(vlm.layers)), "final_post"]
    assert torch.equal(streams[1], run.saved["resid_pre", 1])
    assert torch.equal(streams[-1], run.saved["resid_post", -1])
    if has_mid(vlm):
        _, labels = stream.accumulated_resid(1, incl_mid=True, mlp_input=True, return_labels=True)
        assert labels == ["0_pre", "0_mid", "1_pre", "1_mid"]


def test_the_heads_and_what_remains_sum_to_the_stream(vlm, stream, run):
    text = vlm.config.get_text_config()
    parts, labels = stream.stack_head_results(return_labels=True, incl_remainder=True)
    assert len(parts) == len(labels) == vlm.layers * text.num_attention_heads + 1
    assert labels[text.num_attention_heads + 1] == "L1H1"
    assert_close(parts.sum(0), run.saved["resid_post", -1])


def test_heads_and_units_and_what_remains_sum_to_the_stream(vlm, stream, run):
    if not all(f"blocks.{at}.mlp.hook_post" in vlm.hook_dict for at in range(vlm.layers)):
        with pytest.raises(UnknownPointError, match="experts"):
            stream.get_full_resid_decomposition()
        return
    parts, labels = stream.get_full_resid_decomposition(return_labels=True)
    text = vlm.config.get_text_config()
    of_heads = vlm.layers * text.num_attention_heads
    assert labels[of_heads - 1 : of_heads + 1] == [
        f"L{vlm.layers - 1}H{text.num_attention_heads - 1}",
        "L0N0",
    ]
    assert_close(parts.sum(0), run.saved["resid_post", -1])
    # No head and no unit writes a bias: what is left over is what the modules add to nothing.
    assert_close(parts[labels.index("bias")], torch.zeros(()), like=run.saved["resid_post", -1])
    units = stream.stack_neuron_results(1)
    assert_close(units.sum(0), run.saved["mlp_out", 0])
    norm = vlm.hf_model.get_submodule(vlm.family.final_norm)
    bias = norm(torch.zeros_like(parts[0])).detach()
    passed = stream.get_full_resid_decomposition(apply_ln=True, pos_slice=-1)
    assert_close(passed.sum(0), run.saved["ln_final.hook_normalized"][:, -1] - bias[:, -1])


def test_a_cache_asks_the_model_that_ran(vlm, stream, run):
    """And says so where there is none, or it is gone."""
    parts = run.saved.decompose_resid()
    assert torch.equal(parts, stream.decompose_resid())
    assert torch.equal(run.saved.logit_attrs(parts, 7), stream.logit_attrs(parts, 7))
    alone = vl.ActivationCache(dict(run.saved), run.saved.axes)
    with pytest.raises(InputError, match=r"ResidualStream\(model, cache\)"):
        alone.decompose_resid()
    sent = pickle.loads(pickle.dumps(run.saved))
    assert torch.equal(sent["hook_embed"], run.saved["hook_embed"])
    with pytest.raises(InputError, match="does not know the model"):
        sent.accumulated_resid()
    with pytest.raises(InputError, match="keeps its axis"):
        alone.remove_batch_dim()
    one = run.saved.apply_slice_to_batch_dim(1)
    with pytest.raises(InputError, match="taken away"):
        one.remove_batch_dim()
    with pytest.raises(InputError, match="taken away"):
        one.apply_slice_to_batch_dim(0)
    assert_close(one.decompose_resid(), parts[:, 1])
    with pytest.raises(InputError, match="none of 2"):
        run.saved.apply_slice_to_batch_dim((2, 2))
    for name in ("logit_lens", "toggle_autodiff"):
        with pytest.raises(InputError, match=name):
            getattr(run.saved, name)()


def test_the_heads_of_a_block_sum_to_what_its_attention_writes(vlm, stream, run):
    """But for the projection's bias, which no head writes: the tiny models' LMs have none."""
    heads = vlm.config.get_text_config().num_attention_heads
    parts = stream.stack_head_results(1)
    assert_close(parts.sum(0), run.saved["attn_out", 0])
    assert parts.shape[0] == heads


# To the norm's output.


def test_what_passes_the_final_norm_sums_to_its_output(vlm, stream, run):
    parts = stream.decompose_resid(apply_ln=True)
    normed = run.saved["ln_final.hook_normalized"]
    norm = vlm.hf_model.get_submodule(vlm.family.final_norm)
    bias = norm(torch.zeros_like(normed[0, 0])).detach()
    assert_close(parts.sum(0) + bias, normed)
    by_heads = stream.stack_head_results(incl_remainder=True, apply_ln=True)
    assert_close(by_heads.sum(0) + bias, normed)
    last = stream.accumulated_resid(apply_ln=True)[-1]
    assert_close(last, normed)


def test_what_passes_a_blocks_norm_is_what_its_queries_are_made_of(vlm, stream, run):
    if "q_proj" not in vlm.hook_dict["blocks.1.attn.hook_q"].tap.module:
        return  # normed once more on their way
    seen = stream.decompose_resid(1, apply_ln=True).sum(0)
    (projection,) = vlm.hook_dict["blocks.1.attn.hook_q"]._wire._module
    with torch.no_grad():
        assert_close(projection(seen), run.saved["q", 1].flatten(-2))


def test_what_passes_the_mlps_norm(vlm, stream, run):
    pre = vlm.hook_dict.get("blocks.1.mlp.hook_pre")  # experts have none
    if pre is None or pre.tap.module != "mlp.gate_proj" or not has_mid(vlm):
        return
    if "blocks.1.ln2.hook_scale" in vlm.absent:
        with pytest.raises(UnsupportedModelError, match=r"nothing norms .*block 1 reads"):
            stream.decompose_resid(1, mlp_input=True, apply_ln=True)
        return
    seen = stream.decompose_resid(1, mlp_input=True, apply_ln=True).sum(0)
    (projection,) = pre._wire._module
    with torch.no_grad():
        assert_close(projection(seen), run.saved["pre", 1])


# To the logits.


def test_attributions_sum_to_the_logit(vlm, stream, run):
    logits = run.saved["hook_logits"]
    norm = vlm.hf_model.get_submodule(vlm.family.final_norm)
    head = vlm.hf_model.get_submodule(vlm.family.lm_head)
    with torch.no_grad():
        bias = head(norm(torch.zeros_like(run.saved["hook_embed"][0, 0])))
    parts = stream.decompose_resid()
    assert_close(stream.logit_attrs(parts, 7).sum(0) + bias[7], logits[..., 7])
    heads = stream.stack_head_results(incl_remainder=True)
    assert_close(stream.logit_attrs(heads, 7).sum(0) + bias[7], logits[..., 7])
    told = stream.logit_attrs(parts, 7, 9).sum(0) + bias[7] - bias[9]
    assert_close(told, logits[..., 7] - logits[..., 9])


def test_tokens_by_sample_and_by_position(vlm, stream, run):
    parts = stream.decompose_resid()
    both = stream.logit_attrs(parts, torch.tensor([7, 9]))
    assert_close(both[:, 0], stream.logit_attrs(parts, 7)[:, 0])
    assert_close(both[:, 1], stream.logit_attrs(parts, 9)[:, 1])
    positions = parts.shape[2]
    tokens = torch.arange(positions).expand(2, -1) + 5
    every = stream.logit_attrs(parts, tokens)
    for at in (0, positions - 1):
        assert_close(every[:, 1, at], stream.logit_attrs(parts, at + 5)[:, 1, at])


def test_a_token_by_its_text(vlm, stream):
    tokenizer = vlm.processor.tokenizer
    parts = stream.decompose_resid()
    word = next(w for w in tokenizer.get_vocab() if len(tokenizer.encode(w)) == 1 and w.isalpha())
    (expected,) = tokenizer.encode(word, add_special_tokens=False)
    assert torch.equal(stream.logit_attrs(parts, word), stream.logit_attrs(parts, expected))
    with pytest.raises(InputError, match="not one"):
        stream.logit_attrs(parts, "the circle is left of the star")


def test_slices_of_positions_and_samples(vlm, stream):
    whole = stream.logit_attrs(stream.decompose_resid(), 7)
    last = stream.decompose_resid(pos_slice=-1)
    assert_close(stream.logit_attrs(last, 7, pos_slice=-1), whole[:, :, -1])
    few = stream.decompose_resid(pos_slice=(2, 5))
    assert_close(stream.logit_attrs(few, 7, pos_slice=(2, 5)), whole[:, :, 2:5])
    assert_close(stream.logit_attrs(few, 7, pos_slice=(2, 5), batch_slice=1), whole[:, 1, 2:5])
    heads = stream.stack_head_results(incl_remainder=True, pos_slice=-1)
    assert_close(stream.logit_attrs(heads, 7, pos_slice=-1).sum(0), whole[:, :, -1].sum(0))
    one = stream.decompose_resid()[:, 0]
    alone = ResidualStream(stream._vlm, first_sample(stream.saved))
    assert_close(alone.logit_attrs(one, 7, has_batch_dim=False), whole[:, 0])


def first_sample(saved):
    tensors = {name: saved[name][:1] for name in saved}
    return vl.ActivationCache(tensors, saved.axes)


# The cache's own.


def test_the_cache_knows_transformer_lenss_short_names(vlm, run):
    saved = run.saved
    last = vlm.layers - 1
    assert saved["pattern", 1] is saved["blocks.1.attn.hook_pattern"]
    assert saved["resid_post", -1] is saved[f"blocks.{last}.hook_resid_post"]
    assert saved["hook_z", 0, "attn"] is saved["blocks.0.attn.hook_z"]
    assert torch.equal(saved.stack_activation("z"), saved.stack("blocks.*.attn.hook_z"))
    assert torch.equal(saved.stack_activation("z", 1, "attn"), saved["z", 0][None])
    with pytest.raises(UnknownPointError, match="hook_patern"):
        saved["patern", 0]
    with pytest.raises(UnknownPointError):
        saved.stack_activation("mlp_in")


# Refusals.


def test_what_is_refused(vlm, stream):
    with pytest.raises(InputError, match="no layer 99"):
        stream.decompose_resid(99)
    with pytest.raises(InputError, match="no MLP"):
        stream.apply_ln_to_stack(stream.decompose_resid(), mlp_input=True)
    with pytest.raises(InputError, match="at least 1"):
        stream.stack_head_results(0)
    with pytest.raises(InputError, match="one shape"):
        stream.logit_attrs(stream.decompose_resid(), 7, torch.tensor([7, 9]))
    with pytest.raises(UnknownPointError, match="hook_embed"):
        ResidualStream(vlm, vl.ActivationCache({}, {})).decompose_resid()


# Norms.


class Gained(nn.Module):
    """RMSNorm whose weight is one less than its gain, as Gemma has it."""

    def __init__(self, width):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.randn(width)), 1e-6

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * (1 + self.weight)


@pytest.mark.parametrize("kind", [nn.LayerNorm, nn.RMSNorm, Gained])
def test_a_norm_is_found_out(kind):
    torch.manual_seed(0)
    module = kind(8) if kind is Gained else kind(8, eps=1e-3)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    a, b = torch.randn(2, 5, 8)
    norm = Norm.of(module, a)
    scale = norm.scale(a + b)
    found = norm.part(a, scale) + norm.part(b, scale) + norm.bias
    assert_close(found, module(a + b).detach())
    assert norm.centred == (kind is nn.LayerNorm)


@pytest.mark.parametrize("kind", [nn.LayerNorm, nn.RMSNorm, Gained])
def test_a_norm_is_found_out_anew_once_it_is_another(kind):
    """What was seen of a norm without gain says nothing; what takes its place is looked at."""
    module, a = kind(8) if kind is Gained else kind(8, eps=1e-3), torch.randn(2, 8)
    gain = next(module.parameters())
    usual = gain.detach().clone()
    with torch.no_grad():
        gain.fill_(-1.0 if kind is Gained else 0.0)
        Norm.of(module, a)
        gain.copy_(usual)
    assert Norm.of(module, a).centred == (kind is nn.LayerNorm)
    module.forward = torch.tanh
    with pytest.raises(UnsupportedModelError):
        Norm.of(module, a)


def test_what_is_no_norm_is_refused():
    class Squash(nn.Module):
        eps = 1e-6

        def forward(self, x):
            return torch.tanh(x)

    for module in (Squash(), nn.Linear(8, 8)):
        with pytest.raises(UnsupportedModelError):
            Norm.of(module, torch.randn(8))
