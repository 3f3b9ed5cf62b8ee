"""What can be added to a LLaVA: each does what its formula says, composes, saves and opens."""

import pytest
import torch
from conftest import QUESTIONS, build, picture
from torch.nn.functional import layer_norm

import vlmlens as vl
from vlmlens.errors import InputError, UnsupportedModelError
from vlmlens.interventions import NormalizeVision
from vlmlens.zoo import variants
from vlmlens.zoo.variants.normalize import KINDS

PAPERS = 0.83 * 1.22


@pytest.fixture(scope="module")
def llava():
    return build("llava")


def run(model, processor, save, edits=()):
    with vl.HookedVLM(model, processor) as vlm:
        inputs = vlm.inputs([picture(0), picture(1)], list(QUESTIONS))
        ran = vlm.run(inputs, list(edits), save=save)
        return ran.saved[save], ran


def with_gain(model, seed=0):
    weight = model.model.multi_modal_projector.norm.weight
    with torch.no_grad():
        weight.copy_(1 + 0.3 * torch.randn(weight.shape, generator=torch.manual_seed(seed)))
    return model


# +Normalize


def test_every_token_of_the_papers_norm_is_equally_long(llava):
    model, processor = llava
    out, _ = run(with_gain(variants.normalize(model)), processor, "projector.hook_out")
    torch.testing.assert_close(out.norm(dim=-1), torch.full(out.shape[:-1], PAPERS))


@pytest.mark.parametrize("kind", KINDS)
def test_with_gain_one_it_is_the_intervention_of_that_name(llava, kind):
    model, processor = llava
    ours, run_of_ours = run(variants.normalize(model, kind), processor, "hook_embed")
    theirs, run_of_theirs = run(model, processor, "hook_embed", [NormalizeVision(kind=kind)])
    # Quantiles are kept at 129 places of the table, and joined by straight lines.
    close = {"rtol": 5e-3, "atol": 5e-3} if kind == "match_distribution" else {}
    torch.testing.assert_close(ours, theirs, **close)
    if not close:
        torch.testing.assert_close(run_of_ours.logits, run_of_theirs.logits, rtol=1e-4, atol=1e-5)


def test_the_gain_comes_before_the_lengths(llava):
    model, processor = llava
    plain, _ = run(model, processor, "projector.hook_out")
    mean = model.get_input_embeddings().weight.norm(dim=-1).mean()
    changed = with_gain(variants.normalize(model, "match_each"))
    gain = changed.model.multi_modal_projector.norm.weight.detach()
    out, _ = run(changed, processor, "projector.hook_out")
    y = gain * plain
    torch.testing.assert_close(out, y * mean / y.norm(dim=-1, keepdim=True))


def test_the_gain_learns_though_the_lengths_are_fixed(llava):
    model, processor = llava
    for kind in KINDS:
        changed = variants.normalize(model, kind)
        with vl.HookedVLM(changed, processor) as vlm:
            tensors = vlm.inputs([picture(0)], [QUESTIONS[0]]).tensors
        changed(**tensors).logits.square().mean().backward()
        assert changed.model.multi_modal_projector.norm.weight.grad.abs().max() > 0, kind


def test_constants_follow_the_table_when_they_are_refreshed(llava):
    changed = variants.normalize(llava[0], "match_distribution")
    before = dict(changed.config.normalize)
    with torch.no_grad():
        changed.get_input_embeddings().weight.mul_(2)
        changed.get_input_embeddings().weight[3:9] = 0  # rows that hold no word
    assert changed.config.normalize == before
    left = changed.get_input_embeddings().weight.norm(dim=-1)
    left = left[left > 0]
    after = variants.refresh(changed)
    assert after["mean"] == pytest.approx(left.mean().item())
    assert after["quantiles"][0] == pytest.approx(left.min().item())
    assert after["quantiles"][-1] == pytest.approx(left.max().item())
    assert after["mean"] == pytest.approx(2 * before["mean"], rel=0.02)
    out, _ = run(changed, llava[1], "projector.hook_out")
    assert out.norm(dim=-1).min() >= left.min() - 1e-4


def test_what_has_no_constants_cannot_be_refreshed(llava):
    with pytest.raises(UnsupportedModelError, match="no norm"):
        variants.refresh(llava[0])
    with pytest.raises(UnsupportedModelError, match="constants of its own"):
        variants.refresh(variants.normalize(llava[0]))


# +Multilayer


def test_each_layer_passes_the_towers_final_norm(llava):
    model, processor = llava
    changed = variants.multilayer(model, [1, 3])
    with vl.HookedVLM(changed, processor) as vlm:
        inputs = vlm.inputs([picture(0)], [QUESTIONS[0]])
        saved = vlm.run(inputs, save=["vision.blocks.*.hook_resid_post", "projector.*"]).saved
    norm = model.model.vision_tower.post_layernorm
    patches = [
        layer_norm(
            saved[f"vision.blocks.{block}.hook_resid_post"][:, 1:],
            norm.normalized_shape,
            norm.weight,
            norm.bias,
            norm.eps,
        )
        for block in (0, 2)
    ]
    projector = changed.model.multi_modal_projector
    hidden = torch.nn.functional.gelu(projector.linear_1(torch.cat(patches, -1)))
    torch.testing.assert_close(saved["projector.hook_out"], projector.linear_2(hidden).detach())
    assert torch.equal(projector.linear_2.weight, model.model.multi_modal_projector.linear_2.weight)


def test_four_layers_from_the_middle_to_the_last():
    from vlmlens.zoo.variants.multilayer import _upper_half

    assert _upper_half(24) == [12, 16, 20, 24]
    assert _upper_half(4) == [2, 3, 4]


def test_the_copied_norm_is_frozen_and_the_seed_decides_the_rest(llava):
    one, same, other = (variants.multilayer(llava[0], seed=seed) for seed in (0, 0, 1))
    projectors = [m.model.multi_modal_projector for m in (one, same, other)]
    assert not list(projectors[0].feature_norm.parameters())
    assert torch.equal(
        projectors[0].feature_norm.weight, llava[0].model.vision_tower.post_layernorm.weight
    )
    weights = [p.linear_1.weight for p in projectors]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


# Together


def test_they_compose_in_either_order(llava):
    model, processor = llava
    one = variants.normalize(variants.multilayer(model))
    other = variants.multilayer(variants.normalize(model))
    assert one.config.to_dict() == other.config.to_dict()
    logits = [run(m, processor, "hook_embed")[1].logits for m in (one, other)]
    assert torch.equal(*logits)


MADE = {
    "normalize": variants.normalize,
    "match": lambda model: variants.normalize(model, "match_distribution"),
    "multilayer": variants.multilayer,
    "both": lambda model: variants.normalize(variants.multilayer(model), "match_each"),
}


@pytest.mark.parametrize("name", MADE)
def test_a_variant_saves_and_opens_and_its_model_stays_as_it_was(llava, name, tmp_path):
    model, processor = llava
    before = {k: v.clone() for k, v in model.state_dict().items()}
    changed = MADE[name](model)
    if changed.config.normalize:
        with_gain(changed)
    _, ran = run(changed, processor, "hook_embed")
    changed.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    with vl.HookedVLM.from_pretrained(str(tmp_path)) as vlm:
        assert type(vlm.hf_model) is variants.LlavaVariant
        assert not vlm.recognised
        inputs = vlm.inputs([picture(0), picture(1)], list(QUESTIONS))
        assert torch.equal(vlm.run(inputs).logits, ran.logits)
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_what_cannot_be_extended_says_so(llava):
    model, processor = llava
    with pytest.raises(InputError, match="match_each"):
        variants.normalize(model, "match_men")
    with pytest.raises(InputError, match="blocks 1 to 3"):
        variants.multilayer(model, [2, 4])
    with pytest.raises(InputError):
        variants.multilayer(model, [])
    with pytest.raises(UnsupportedModelError, match="of GPT"), torch.device("meta"):
        from transformers import GPT2Config, GPT2LMHeadModel

        variants.normalize(GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=1)))
    with vl.HookedVLM(model, processor) as vlm:
        with pytest.raises(UnsupportedModelError, match="hf_model"):
            variants.normalize(vlm)
        # while it is watched, too: the copy is transformers' own
        copy = variants.normalize(vlm.hf_model)
    assert copy.config.text_config._attn_implementation == "sdpa"
