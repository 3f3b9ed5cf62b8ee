"""What heads, units and tokens write towards an answer, against plain torch."""

import copy

import numpy as np
import pytest
import torch
from as_users import as_users
from closeness import assert_close
from conftest import EVERY, KINDS, build, by_turns, picture
from einops import rearrange
from peft import LoraConfig, get_peft_model

import vlmlens as vl
from vlmlens import plots
from vlmlens.errors import InputError, UnsupportedModelError, VLMLensError
from vlmlens.probes import direct_attribution, patch_map

QUESTIONS = ("What color is the circle?", "Is it red?")
SAMPLES = [
    vl.Sample(question, (picture(at),), answer=("red", "blue")[at])
    for at, question in enumerate(QUESTIONS)
]
NO_SUM = ("gemma4", "gemma4/experts", "lfm2_vl", "qwen3_5", "qwen3_5_moe")


#: Their logits are the unembedding's output times a number of the configuration.
SCALED = ("cohere_compass", "hyperclovax_vision_v2")


@pytest.fixture(
    scope="module",
    params=by_turns([name for name in EVERY if name not in NO_SUM], (*KINDS, *SCALED)),
)
def vlm(request):
    """Every tiny model whose stream is a sum of points."""
    with vl.HookedVLM(*build(request.param)) as model:
        yield model


@pytest.fixture(scope="module")
def inputs(vlm):
    return vlm.inputs(SAMPLES)


def test_parts_sum_to_the_logit(vlm, inputs):
    """But for what is added between blocks, which no sublayer writes."""
    found = direct_attribution(vlm, inputs, "red", "blue", by="part")
    run = vlm.run(inputs, save="hook_logits")
    capped = getattr(vlm.config.get_text_config(), "final_logit_softcapping", None)
    logits = (run.saved["hook_logits"] if capped else run.logits)[:, -1]
    assert (vlm.config.model_type in SCALED) == (vlm.family.logit_scale(vlm.config) != 1)
    right, wrong = (int(direct_token(vlm, text)) for text in ("red", "blue"))
    total = logits[:, right] - logits[:, wrong]
    assert_close(found["total"].values, total, like=logits)
    added = any("deepstack" in name for name in vlm.hook_dict)
    if not added and vlm.config.get_text_config().model_type != "cohere2":
        assert_close(found["remainder"].values, np.zeros(2), like=logits)
    np.testing.assert_allclose(
        found.sum("part") + found["remainder"], found["total"], rtol=1e-4, atol=1e-4
    )


def test_words_enter_as_their_rows_of_the_table(vlm, inputs):
    """Times what the model multiplies them with; the norms of the table's rows, too."""
    entered = vlm.run(inputs, save="hook_embed").saved["hook_embed"][0]
    words = torch.tensor(inputs.layouts[0].mask("user"))
    ids = inputs.tensors["input_ids"][0, words]
    assert_close(vlm.W_E[ids], entered[words])
    assert_close(vlm.embed(ids[None])[0], entered[words])
    table = vl.probes.embedding_norms(vlm).values
    np.testing.assert_allclose(table[ids], entered[words].norm(dim=-1), rtol=1e-4)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # between peft and transformers
def test_an_adapter_of_the_unembedding_is_in_its_directions():
    model, processor = build("llava")
    lora = LoraConfig(target_modules=["lm_head"], init_lora_weights=False)
    with vl.HookedVLM(get_peft_model(model, lora), processor) as vlm:
        inputs = vlm.inputs(SAMPLES)
        found = direct_attribution(vlm, inputs, "red", by="part")
        logits = vlm.run(inputs).logits[:, -1]
        assert_close(found["total"].values, logits[:, direct_token(vlm, "red")], like=logits)
        assert_close(found["remainder"].values, np.zeros(2), like=logits)


def direct_token(vlm, text):
    said = vlm.inputs([SAMPLES[0]], answers=[text])
    return said.tensors["input_ids"][0, said.layouts[0].positions("assistant")[0]]


def test_heads_and_units_sum_to_their_sublayers(vlm, inputs):
    """No tiny model's language model has biases there."""
    parts = direct_attribution(vlm, inputs, "red", "blue", by="part")
    like = vlm.run(inputs, logits="last").logits
    heads = direct_attribution(vlm, inputs, "red", "blue")
    for layer in heads["layer"].values:
        whole = parts.sel(part=f"{layer}_attn_out")
        assert_close(heads.sel(layer=layer).sum("head").values, whole.values, like=like)
    if any(f"blocks.{at}.mlp.hook_post" not in vlm.hook_dict for at in range(vlm.layers)):
        return  # experts
    units = direct_attribution(vlm, inputs, "red", "blue", by="neuron")
    for layer in units["layer"].values:
        whole = parts.sel(part=f"{layer}_mlp_out")
        assert_close(units.sel(layer=layer).sum("neuron").values, whole.values, like=like)


def test_sources_sum_to_their_heads(vlm, inputs):
    heads = direct_attribution(vlm, inputs, "red", "blue")
    sources = direct_attribution(vlm, inputs, "red", "blue", by="source")
    assert sources.dims == ("sample", "layer", "head", "pos")
    like = vlm.run(inputs, logits="last").logits
    assert_close(sources.sum("pos").values, heads.sel(layer=sources["layer"]).values, like=like)
    for row, layout in enumerate(inputs.layouts):
        assert not sources.isel(sample=row, pos=np.flatnonzero(layout.mask("pad"))).any()


# By hand, and what figures make of it.


@pytest.fixture(scope="module", params=["shapes-base", "qwen2_5_vl"])
def case(request):
    bundled = request.param == "shapes-base"
    model = vl.HookedVLM.from_pretrained(request.param) if bundled else None
    with model or vl.HookedVLM(*build(request.param)) as opened:
        yield opened


def test_one_head_and_one_token_by_hand(case):
    """Torch's own hooks, transformers' own patterns, and the checkpoint's weights."""
    sample = SAMPLES[0]
    inputs = case.inputs([sample])
    found = direct_attribution(case, inputs, by="source").isel(sample=0)
    text = case.config.get_text_config()
    size = text.hidden_size // text.num_attention_heads
    layer, head = 1, 1
    with copy.deepcopy(case) as twin:
        plain = twin.hf_model
    plain.set_attn_implementation("eager")  # closed: transformers' own, and nothing of ours
    block = plain.get_submodule(case.family.lm_layers)[layer]
    norm = plain.get_submodule(case.family.final_norm)
    kept = {}
    block.self_attn.v_proj.register_forward_hook(lambda m, a, x: kept.update(v=x[0]))
    norm.register_forward_pre_hook(lambda m, a: kept.update(stream=a[0][0, -1]))
    with torch.no_grad():
        output = plain(**inputs.tensors, output_attentions=True)
    shared = text.num_attention_heads // text.num_key_value_heads
    values = rearrange(kept["v"], "k (h d) -> h k d", d=size)[head // shared]
    out = block.self_attn.o_proj.weight[:, head * size : (head + 1) * size]
    scale = (kept["stream"].square().mean() + text.rms_norm_eps).sqrt()
    token = int(direct_token(case, sample.answer))
    unembedded = case.hf_model.get_submodule(case.family.lm_head).weight[token] * norm.weight
    with torch.no_grad():
        worth = values @ out.T @ unembedded / scale
        expected = output.attentions[layer][0, head, -1] * worth
    assert_close(found.sel(layer=layer, head=head).values, expected, like=output.logits)


def test_answers_one_a_sample_and_their_differences(case):
    inputs = case.inputs(SAMPLES)
    own = direct_attribution(case, inputs)
    said = direct_attribution(case, inputs, ["red", "blue"])
    np.testing.assert_allclose(own, said)
    alone = direct_attribution(case, case.inputs([SAMPLES[1]]), "blue")
    like = case.run(inputs, logits="last").logits
    assert_close(own.isel(sample=1).values, alone.isel(sample=0).values, like=like)
    gap = direct_attribution(case, inputs, ["red", "blue"], ["blue", "red"])
    swapped = direct_attribution(case, inputs, ["blue", "red"])
    assert_close(gap.values, (said - swapped).values, like=like)
    user = int(inputs.layouts[0].positions("user")[-1])
    earlier = direct_attribution(case, case.inputs([SAMPLES[0]]), "red", at=user)
    logits = case.run(case.inputs([SAMPLES[0]])).logits[0, user]
    assert_close(earlier["total"].item(), logits[int(direct_token(case, "red"))], like=logits)


def test_it_is_drawn_as_heat_and_as_a_map_of_heads(case):
    sample = SAMPLES[0]
    inputs = case.inputs([sample])
    found = direct_attribution(case, inputs, by="source")
    grid = patch_map(found, inputs)
    vision = inputs.layouts[0].vision(0)
    one = grid.isel(sample=0).sel(layer=1, head=1)
    np.testing.assert_array_equal(
        one.values.ravel(), found.isel(sample=0).sel(layer=1, head=1)[vision]
    )
    figure = plots.overlay(sample.images[0], one, midpoint=0.0)
    np.testing.assert_array_equal(figure.data[0].z, one.values)
    assert figure.layout.images or figure.data
    heads = plots.heads(direct_attribution(case, inputs), midpoint=0.0)
    assert heads.data[0].z.shape == (case.layers, case.cfg.n_heads)
    words = plots.sweep(plots.placed(found.sum("head").isel(sample=0), inputs.layouts[0]))
    assert words.layout.yaxis.title.text == "layer"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "token"}, "there is: part, head, source, neuron"),
        ({"answers": ["red"]}, "one for each of 2 samples"),
        ({"answers": 3}, "one for each of 2 samples"),
        ({"answers": ["red", ""]}, "sample 1"),
        ({"answers": "red", "wrong": "red"}, "begin with the same token"),
        ({"at": "vision"}, "one is wanted"),
    ],
)
def test_what_is_refused(options, message):
    with (
        vl.HookedVLM(*build("llava")) as model,
        as_users(),
        pytest.raises(InputError, match=message),
    ):
        direct_attribution(model, model.inputs(SAMPLES), **options)


def test_without_samples_answers_are_single_tokens():
    with vl.HookedVLM(*build("llava")) as model:
        inputs = model.inputs_from(torch.arange(20, 30)[None])
        found = direct_attribution(model, inputs, " red")
        logits = model.run(inputs).logits[0, -1]
        assert_close(found["total"].item(), logits[model.to_single_token(" red")], like=logits)
        with pytest.raises(VLMLensError, match="one for each of 1"):
            direct_attribution(model, inputs)


def test_a_stream_that_is_no_sum_is_refused():
    with (
        vl.HookedVLM(*build("gemma4")) as model,
        pytest.raises(UnsupportedModelError, match="no sum"),
    ):
        direct_attribution(model, model.inputs(SAMPLES))


@pytest.mark.parametrize("name", ["lfm2_vl", "qwen3_5"])
def test_layers_that_have_no_heads_are_left_out(name):
    with vl.HookedVLM(*build(name)) as model:
        found = direct_attribution(model, model.inputs(SAMPLES))
        assert 0 < found.sizes["layer"] < model.layers
