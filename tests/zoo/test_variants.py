"""What can be added to a LLaVA: each does what its formula says, composes, saves and opens."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from closeness import assert_close
from conftest import QUESTIONS, build, picture
from torch.nn.functional import layer_norm

import vlmlens as vl
from vlmlens.errors import InputError, UnsupportedModelError
from vlmlens.interventions import NormalizeVision, PermuteVision
from vlmlens.zoo import variants
from vlmlens.zoo.variants.additions.normalize import KINDS

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


def test_the_papers_clip_shortens_and_never_lengthens(llava):
    """A gain of 0.1 leaves |y| at a tenth of the root of the width, below 1.22."""
    model, processor = llava
    changed = variants.normalize(model)
    with torch.no_grad():
        changed.model.multi_modal_projector.norm.weight.fill_(0.1)
    out, _ = run(changed, processor, "projector.hook_out")
    short = torch.full(out.shape[:-1], 0.83 * 0.1 * 32**0.5)
    assert_close(out.norm(dim=-1), short)


@pytest.mark.parametrize("kind", KINDS)
def test_with_gain_one_it_is_the_intervention_of_that_name(llava, kind):
    model, processor = llava
    ours, run_of_ours = run(variants.normalize(model, kind), processor, "hook_embed")
    theirs, run_of_theirs = run(model, processor, "hook_embed", [NormalizeVision(kind=kind)])
    # Quantiles are kept at 129 places of the table, and joined by straight lines.
    close = {"rtol": 5e-3, "atol": 5e-3} if kind == "match_distribution" else {}
    torch.testing.assert_close(ours, theirs, **close)
    if not close:
        assert_close(run_of_ours.logits, run_of_theirs.logits)


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
    from vlmlens.zoo.variants.additions.multilayer import _upper_half

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


# Pooled tokens, registers


def test_pooled_tokens_are_means_of_their_part_of_the_grid(llava):
    model, processor = llava
    plain, _ = run(model, processor, "projector.hook_out")
    grid = plain.unflatten(1, (4, 4))
    for side, spans in ((2, [(0, 2), (2, 4)]), (3, [(0, 2), (1, 3), (2, 4)]), (1, [(0, 4)])):
        changed = variants.pool(model, side)
        fitting = variants.processor_for(changed, processor)
        out, ran = run(changed, fitting, "projector.hook_out")
        by_hand = [grid[:, a:b, c:d].mean((1, 2)) for a, b in spans for c, d in spans]
        torch.testing.assert_close(out, torch.stack(by_hand, 1))
        assert ran.inputs.layouts[0].grid() == (side, side)


def test_a_pooled_token_looks_at_all_that_it_is_made_of(llava):
    model, processor = llava
    whole = vl.HookedVLM(model, processor)
    with whole:
        boxes = whole.inputs([picture(0)], ["What?"]).layouts[0].box
    changed = variants.pool(model, 2)
    with vl.HookedVLM(changed, variants.processor_for(changed, processor)) as vlm:
        layout = vlm.inputs([picture(0)], ["What?"]).layouts[0]
    last = layout.box[layout.vision(0)[3]]
    own = boxes[~np.isnan(boxes[:, 0])].reshape(4, 4, 4)[2:, 2:]
    assert last.tolist() == [own[..., 0].min(), own[..., 1].min(), 40, 40]


def test_the_norm_comes_after_pooling(llava):
    changed = variants.pool(variants.normalize(llava[0]), 2)
    out, _ = run(changed, variants.processor_for(changed, llava[1]), "projector.hook_out")
    torch.testing.assert_close(out.norm(dim=-1), torch.full((2, 4), PAPERS))


def test_a_processor_that_does_not_fit_is_refused(llava):
    model, processor = llava
    with (
        vl.HookedVLM(variants.pool(model, 2), processor) as vlm,
        pytest.raises(InputError, match="16 vision positions"),
    ):
        vlm.inputs([picture(0)], [QUESTIONS[0]])


def test_registers_follow_every_image_and_nothing_else_changes(llava):
    model, processor = llava
    changed = variants.registers(model, 3)
    with vl.HookedVLM(changed, variants.processor_for(changed, processor)) as vlm:
        inputs = vlm.inputs([[picture(0), picture(1)]], ["Which is it?"])
        shuffle = PermuteVision()
        saved, shuffled = (
            vlm.run(inputs, edits, save="hook_embed").saved["hook_embed"][0]
            for edits in ((), (shuffle,))
        )
    (layout,) = inputs.layouts
    assert [layout.kind.count(kind) for kind in ("patch", "register")] == [32, 6]
    own = changed.model.multi_modal_projector.registers.weight
    for image in range(2):
        here = [
            at
            for at, kind in enumerate(layout.kind)
            if kind == "register" and layout.image[at] == image
        ]
        assert here == list(range(here[0], here[0] + 3))
        assert here[0] == layout.vision(image)[-1] + 1
        assert (layout.row[here] == -1).all()
        torch.testing.assert_close(saved[here], own)
        torch.testing.assert_close(shuffled[here], own)
    with vl.HookedVLM(model, processor) as plain:
        before = plain.inputs([[picture(0), picture(1)]], ["Which is it?"])
        stream = plain.run(before, save="hook_embed").saved["hook_embed"][0]
    kept = [at for at, kind in enumerate(layout.kind) if kind != "register"]
    torch.testing.assert_close(saved[kept], stream)


def test_registers_begin_as_words(llava):
    table = llava[0].get_input_embeddings().weight
    own = variants.registers(llava[0], 200).model.multi_modal_projector.registers.weight
    words = table.norm(dim=-1).mean().item()
    assert own.norm(dim=-1).mean().item() == pytest.approx(words, rel=0.05)


# Coordinates


def test_coordinates_change_nothing_until_they_are_trained(llava):
    model, processor = llava
    changed = variants.coordinates(model)
    before, after = (run(m, processor, "hook_embed")[1].logits for m in (model, changed))
    torch.testing.assert_close(after, before)


def test_coordinates_are_rows_and_columns_from_minus_one_to_one(llava):
    model, processor = llava
    changed = variants.coordinates(model)
    projector = changed.model.multi_modal_projector
    toward = torch.randn(2, 32, generator=torch.manual_seed(0))
    with torch.no_grad():
        projector.linear_1.weight[:, -2:] = toward.T
    features, _ = run(changed, processor, "projector.hook_in")
    out, _ = run(changed, processor, "projector.hook_out")
    old = model.model.multi_modal_projector
    place = torch.tensor([[r, c] for r in range(4) for c in range(4)]) * 2 / 3 - 1
    hidden = torch.nn.functional.gelu(old.linear_1(features) + place @ toward)
    torch.testing.assert_close(out, old.linear_2(hidden).detach())


# 2-D RoPE


def test_vision_tokens_turn_by_row_and_column_and_text_as_before(llava):
    model, processor = llava
    point = "blocks.1.attn.hook_cos"
    plain, ran = run(model, processor, point)
    turned, _ = run(variants.grid_rope(model), processor, point)
    head = plain.shape[-1]
    frequency = 1 / 10000 ** (torch.arange(0, head, 2) / head)
    for row, layout in enumerate(ran.inputs.layouts):
        text = ~layout.mask("vision", "pad")
        assert_close(turned[row, text], plain[row, text], depth=1)
        here = layout.vision(0)
        start = ran.inputs.tensors["position_ids"][row, here[0]].item()
        ways = np.stack([0 * here, layout.row[here], layout.column[here]])  # time height width
        own = torch.from_numpy(start + ways[np.arange(head // 2) % 3].T)
        expected = torch.cos(own * frequency).repeat(1, 2)
        assert_close(turned[row, here], expected)


def test_without_an_image_it_is_the_plain_model(llava):
    model, _ = llava
    ids = torch.tensor([[1, 50, 60, 70, 80]])
    with torch.no_grad():
        assert_close(variants.grid_rope(model)(ids).logits, model(ids).logits)


def test_padding_on_the_left_and_no_position_ids(llava):
    model, processor = llava
    changed = variants.grid_rope(model)
    with vl.HookedVLM(changed, processor) as vlm:
        inputs = vlm.inputs([picture(0), picture(1)], list(QUESTIONS))
        ours = vlm.run(inputs).logits
    given = {k: v for k, v in inputs.tensors.items() if k != "position_ids"}
    counted = {"position_ids": inputs.tensors["attention_mask"].cumsum(-1).sub(1).clamp(min=0)}
    with torch.no_grad():
        assert torch.equal(changed(**given).logits, ours)
        assert torch.equal(changed(**given, **counted).logits, ours)


def test_positions_that_are_not_threefold_are_refused_where_nobody_can_make_them_so(llava):
    model = variants.grid_rope(llava[0]).model
    words = model.get_input_embeddings()(torch.tensor([[1, 50, 60]]))
    with pytest.raises(InputError, match="grid_positions"):
        model.language_model(inputs_embeds=words)
    with pytest.raises(InputError, match="which positions"):
        model(inputs_embeds=words)
    with pytest.raises(InputError, match="whole images"):
        model.grid_positions(torch.full((1, 9), model.config.image_token_id), torch.arange(9)[None])


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
    "tokens": lambda model: variants.registers(variants.pool(model, 3), 2),
    "places": lambda model: variants.grid_rope(variants.coordinates(model)),
    "everything": lambda model: variants.registers(
        variants.pool(
            variants.grid_rope(
                variants.coordinates(variants.multilayer(variants.normalize(model, "match_mean")))
            ),
            2,
        )
    ),
}


@pytest.mark.parametrize("name", MADE)
def test_a_variant_saves_and_opens_and_its_model_stays_as_it_was(llava, name, tmp_path):
    model, processor = llava
    before = {k: v.clone() for k, v in model.state_dict().items()}
    changed = MADE[name](model)
    if changed.config.normalize:
        with_gain(changed)
    processor = variants.processor_for(changed, processor)
    _, ran = run(changed, processor, "hook_embed")
    changed.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    with vl.HookedVLM.from_pretrained(str(tmp_path)) as vlm:
        assert isinstance(vlm.hf_model, variants.LlavaVariant)
        assert not vlm.recognised
        inputs = vlm.inputs([picture(0), picture(1)], list(QUESTIONS))
        assert torch.equal(vlm.run(inputs).logits, ran.logits)
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_settings_without_weights_of_their_own_make_another_model(llava):
    """Results are kept by a model's revision: equal weights must not make two norms one."""
    model, processor = llava
    made = [model, variants.normalize(model), variants.normalize(model, "match_each")]
    made += [variants.normalize(model), variants.pool(model, 2), variants.pool(model, 3)]
    revisions = []
    for one in made:
        with vl.HookedVLM(one, processor) as vlm:
            revisions.append(vlm.revision)
    assert revisions[1] == revisions[3]
    assert len(set(revisions)) == 5


def test_what_cannot_be_extended_says_so(llava):
    model, processor = llava
    with pytest.raises(InputError, match="match_each"):
        variants.normalize(model, "match_men")
    with pytest.raises(InputError, match="blocks 1 to 3"):
        variants.multilayer(model, [2, 4])
    with pytest.raises(InputError):
        variants.multilayer(model, [])
    with pytest.raises(InputError, match="4 x 4"):
        variants.pool(model, 5)
    with pytest.raises(InputError, match="at least one"):
        variants.registers(model, 0)
    with pytest.raises(UnsupportedModelError, match="of GPT"), torch.device("meta"):
        from transformers import GPT2Config, GPT2LMHeadModel

        variants.normalize(GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=1)))
    with pytest.raises(UnsupportedModelError, match="no variant"):
        variants.processor_for(model, processor)
    with vl.HookedVLM(model, processor) as vlm:
        for add in variants.VARIANTS.values():
            with pytest.raises(UnsupportedModelError, match="hf_model"):
                add(*(vlm, 2)[: 1 + (add is variants.pool)])
        # while it is watched, too: the copy is transformers' own
        copy = variants.normalize(vlm.hf_model)
    assert copy.config.text_config._attn_implementation == "sdpa"


# The page


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """What the page's code leaves behind, run in order; its last block needs a checkpoint."""
    text = (Path(__file__).parents[2] / "docs" / "variants.md").read_text()
    names: dict = {}
    home = tmp_path_factory.mktemp("page")
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)[:-1]:
        exec(block.replace("my-llava", str(home / "my-llava")), names)
    return names


@pytest.mark.slow
def test_a_norm_that_is_plugged_in_breaks_a_trained_model(page):
    assert page["counts"]["trained so"] >= 9  # of 12
    assert page["counts"]["plugged in"] <= page["counts"]["trained so"] - 2


@pytest.mark.pages
def test_the_page_runs_and_what_it_trains_learns(page):
    assert page["pooled"].grid() == (4, 4)
    assert page["matched"].config.normalize["mean"] == pytest.approx(
        1.5 * page["llava"].get_input_embeddings().weight.norm(dim=-1).mean().item(), rel=0.02
    )
    assert page["losses"][-1] < page["losses"][0]
    assert page["mine"].config.model_type == "vlmlens_llava"
