"""Probes on runs made by hand, and against what they stand for on tiny models."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from closeness import assert_close
from conftest import QUESTIONS, picture
from hand import attending, layout, rope_of, run_saving

import vlmlens as vl
from vlmlens import probes
from vlmlens.errors import EmptySelectionError, InputError, UnknownPointError
from vlmlens.model.wiring.rotary import rotate
from vlmlens.probes import cmb, norms, rope

# Cross-modality balance.


@pytest.mark.parametrize(
    ("weights", "balance"),
    [
        ([0.0, 0.0, 0.2, 0.2, 0.2, 0.4, 0.0], 0.4),
        ([0.9, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0], np.nan),  # neither image nor question
        ([0.7, 0.1, 0.1, 0.0, 0.0, 0.0, 0.1], 1.0),  # start, system and template do not count
        ([0.0, 0.0, 0.0, 0.0, 0.3, 0.7, 0.0], 0.0),
        ([0.2, 0.1, 0.1, 0.2, 0.1, 0.0, 0.3], 0.75),
    ],
)
def test_balance_is_the_images_share_of_image_and_question(weights, balance):
    found = probes.cross_modality_balance(attending(["bsvvuut"], [[weights]]))
    assert found.dims == ("sample", "layer", "head")
    assert found.item() == pytest.approx(balance, nan_ok=True)
    assert found["uniform"].item() == 0.5
    assert found.attrs["units"] == "fraction"


def test_balance_of_every_sample_layer_and_head():
    run = attending(
        [".bvvu", "bvuut"],
        [
            [[0, 0, 0.2, 0.2, 0.6], [0, 0.5, 0.1, 0.1, 0.3]],
            [[0, 0.3, 0.1, 0, 0.6], [1, 0, 0, 0, 0]],
        ],
        [[[0, 0, 0, 0, 1], [0, 0, 1, 0, 0]], [[0, 1, 0, 0, 0], [0, 0, 0.5, 0.5, 0]]],
    )
    found = probes.cross_modality_balance(run)
    expected = [[[0.4, 0.4], [0.0, 1.0]], [[0.75, np.nan], [1.0, 0.0]]]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found["uniform"], [2 / 3, 1 / 3])
    assert found["layer"].values.tolist() == [0, 1]
    assert found["head"].values.tolist() == [0, 1]


def test_which_text_it_is_balanced_against():
    run = attending(["bsvut"], [[[0.1, 0.3, 0.3, 0.1, 0.2]]])
    assert probes.cross_modality_balance(run).item() == pytest.approx(0.75)
    roles = {("system",): 0.5, ("user", "template"): 0.5, ("user", "system", "template"): 1 / 3}
    for text, balance in roles.items():
        assert probes.cross_modality_balance(run, text=text).item() == pytest.approx(balance)


def test_a_generation_is_averaged_over_each_samples_own_steps():
    """Two samples; the second ends after its first token, and nothing it does later counts."""
    one, two = [0.0, 0.8, 0.2], [0.0, 0.5, 0.5]
    steps = [
        attending(["bvu", "bvu"], [[one], [two]]),
        attending(["bvua", "bvua"], [[[0, 0.1, 0.3, 0.6]], [[0.0, 0.9, 0.1, 0.0]]]),
        attending(["bvuaa", "bvuaa"], [[[0, 0.3, 0.3, 0.4, 0]], [[0.0, 0.0, 0.0, 0.0, 1.0]]]),
    ]
    tokens, lengths = torch.tensor([[5, 6, 2], [2, 0, 0]]), torch.tensor([3, 1])
    generation = vl.Generation(steps[0].inputs, tokens, lengths, (), tuple(steps))
    found = probes.cross_modality_balance(generation)
    np.testing.assert_allclose(found.squeeze(), [(0.8 + 0.25 + 0.5) / 3, 0.5], atol=1e-6)
    np.testing.assert_allclose(found["uniform"], [0.5, 0.5])  # of the prompt


def test_balance_needs_an_image_and_words():
    for letters, missing in {"bsuut": "vision", "bvvst": "user"}.items():
        with pytest.raises(EmptySelectionError, match=f"sample 0 has no {missing} tokens"):
            probes.cross_modality_balance(attending([letters], [[[0.2] * 5]]))
    with pytest.raises(EmptySelectionError, match="no system tokens"):
        probes.cross_modality_balance(attending(["bvvut"], [[[0.2] * 5]]), text=("system",))
    with pytest.raises(UnknownPointError):
        probes.cross_modality_balance(run_saving(["bvu"], {}))


def test_balance_of_whole_patterns(vlm, inputs):
    whole = vlm.run(inputs, save="blocks.*.attn.hook_pattern", attention="eager").saved
    last = whole.stack("blocks.*.attn.hook_pattern")[..., -1, :]
    found = probes.cross_modality_balance(vlm.run(inputs, save=cmb.NEEDS))
    for row, own in enumerate(inputs.layouts):
        image, words = (last[:, row][..., own.mask(role)].sum(-1) for role in ("vision", "user"))
        assert_close(found[row], image / (image + words), like=1.0)


# RoPE sensitivity.


def test_rope_sensitivity_worked_out_on_paper():
    """One plane, one head: q = (1, 0), a vision key (1, 0) that turns, a text key (0, 1)."""
    delta = 0.5
    keys = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [3.0, 3.0]])[None, :, None]
    query = torch.tensor([1.0, 0.0])[None, None, None]
    row = torch.tensor([0.0, 1.0, 0.0, 3.0]).softmax(-1)[None, None, None]
    tensors = {"attn.hook_rot_q": [query], "attn.hook_rot_k": [keys], "attn.hook_pattern": [row]}
    made = {"rope": rope_of([1.0]), "scaling": 1.0}
    found = probes.rope_sensitivity(run_saving(["bvut"], tensors, **made), delta=delta)
    alpha = np.e / (np.e + 2)  # scores 0, 1, 0; the last key is the query's own
    turned = np.exp(np.cos(delta)) / (np.exp(np.cos(delta)) + 2)
    gain = (np.cos(delta) - 1) / delta
    assert found["alpha_v"].item() == pytest.approx(alpha)
    assert found["delta_g_v"].item() == pytest.approx(gain)
    assert found["delta_alpha_v"].item() == pytest.approx(turned - alpha, abs=1e-6)
    first_order = alpha * (1 - alpha) * delta * gain
    assert found["eq11_residual"].item() == pytest.approx(turned - alpha - first_order, abs=1e-6)
    assert found["alpha_v"].dims == ("sample", "layer", "head")
    assert found.attrs["delta"] == delta
    own = probes.rope_sensitivity(run_saving(["bvut"], tensors, **made), delta=delta, keys="all")
    assert own["alpha_v"].item() == pytest.approx(np.e / (np.e + 2 + np.exp(3)))


@pytest.fixture(scope="module")
def turning(vlm, inputs):
    return vlm.run(inputs, save=rope.NEEDS)


def values(found, name):
    return torch.from_numpy(found[name].values.astype(np.float64))


def rows_of(run, index):
    """One sample's (layer head d) query, (layer head key d) keys, and what each query may see.

    Padding and the query's own key are left out; a window may hide more, layer by layer.
    """
    own = torch.from_numpy(~run.inputs.layouts[index].mask("pad"))
    query = run.saved.stack(rope.NEEDS[0])[:, index, -1].double()
    keys = run.saved.stack(rope.NEEDS[1])[:, index, own].double().movedim(1, 2)
    keys = keys.repeat_interleave(query.shape[1] // keys.shape[1], dim=1)
    seen = run.saved.stack(rope.NEEDS[2])[:, index, :, -1][..., own] > 0
    vision = torch.from_numpy(run.inputs.layouts[index].mask("vision"))[own][:-1]
    return query, keys[:, :, :-1], seen[..., :-1], vision


def attention(query, keys, seen, scaling):
    scores = torch.einsum("lhd,lhkd->lhk", query, keys) * scaling
    return scores.masked_fill(~seen, -torch.inf).softmax(-1)


@pytest.mark.parametrize("delta", [1.0, -1.0, 0.25, -7.0])
def test_the_exact_identity_of_the_change(turning, delta):
    """delta_alpha = alpha (1 - alpha) (S - 1) / (alpha S + 1 - alpha), S = sum w exp(e)."""
    found = probes.rope_sensitivity(turning, delta=delta)
    for index in range(len(turning.inputs)):
        query, keys, seen, vision = rows_of(turning, index)
        before = attention(query, keys, seen, turning.scaling)
        turned = turning.rope.shift(keys.float(), delta).double()
        change = torch.einsum("lhd,lhkd->lhk", query, turned - keys)[..., vision] * turning.scaling
        alpha = before[..., vision].sum(-1)
        weights = before[..., vision] / alpha[..., None]  # NaN where a window hides the image
        s = (weights * change.exp()).sum(-1)
        expected = alpha * (1 - alpha) * (s - 1) / (alpha * s + 1 - alpha)
        gain = (weights * change).sum(-1) / delta
        for name, value in {
            "alpha_v": alpha,
            "delta_g_v": gain,
            "delta_alpha_v": expected.nan_to_num(),
        }.items():
            ours = values(found, name)[index]
            assert_close(ours, value, like=1.0)


def test_equation_11_holds_as_delta_vanishes(turning):
    residual = {
        delta: np.abs(probes.rope_sensitivity(turning, delta=delta)["eq11_residual"]).max().item()
        for delta in (1.0, 0.1, 0.01)
    }
    assert residual[1.0] > 1e-3
    assert residual[0.1] < 0.03 * residual[1.0]  # it falls as delta squared
    assert residual[0.01] < 1e-3 * residual[1.0]


def test_turning_back_and_forth(turning):
    forth, back = (probes.rope_sensitivity(turning, delta=delta) for delta in (0.01, -0.01))
    # The same slope from either side, and changes of opposite sign.
    assert np.abs(forth["delta_g_v"]).max() > 0.1
    np.testing.assert_allclose(forth["delta_g_v"], back["delta_g_v"], atol=0.03)
    np.testing.assert_allclose(forth["delta_alpha_v"], -back["delta_alpha_v"], atol=5e-5)
    assert np.abs(forth["delta_alpha_v"]).max() > 1e-6
    assert_close(forth["alpha_v"], back["alpha_v"], depth=1)


@pytest.mark.parametrize("delta", [1, -2])
def test_turning_is_what_moving_the_vision_keys_would_do(vlm, inputs, delta):
    """Keys before RoPE, turned by the angles that the model computes for moved positions."""
    run = vlm.run(inputs, save=["blocks.*.attn.hook_k", *rope.NEEDS])
    found = probes.rope_sensitivity(run, delta=float(delta))
    ids = inputs.tensors["position_ids"].clone()
    for index, own in enumerate(inputs.layouts):
        ids[..., index, torch.from_numpy(own.mask("vision"))] += delta
    moved = replace(inputs, tensors=dict(inputs.tensors) | {"position_ids": ids})
    turns = vlm.run(moved, save=["blocks.*.attn.hook_cos", "blocks.*.attn.hook_sin"]).saved
    cos, sin = (turns.stack(f"blocks.*.attn.hook_{side}")[..., None, :] for side in ("cos", "sin"))
    turned = rotate(run.saved.stack("blocks.*.attn.hook_k"), cos, sin, vlm.rope.pairing).double()
    for index, own in enumerate(inputs.layouts):
        query, before, seen, vision = rows_of(run, index)
        kept = torch.from_numpy(~own.mask("pad"))
        after = turned[:, index, kept].movedim(1, 2)[:, :, :-1]
        after = after.repeat_interleave(query.shape[1] // after.shape[1], dim=1)
        share = [
            attention(query, k, seen, run.scaling)[..., vision].sum(-1) for k in (before, after)
        ]
        expected = share[1] - share[0]
        assert expected.abs().max() > 1e-4
        change = values(found, "delta_alpha_v")[index]
        assert_close(change, expected, like=1.0)


@pytest.mark.parametrize("padding", ["left", "right"])
def test_a_batch_agrees_with_one_by_one(vlm, padding):
    pictures = [picture(0), picture(1)]
    needs = [*rope.NEEDS, *cmb.NEEDS, *norms.NEEDS]
    batch = vlm.run(vlm.inputs(pictures, list(QUESTIONS), padding=padding), save=needs)
    for row, (image, question) in enumerate(zip(pictures, QUESTIONS, strict=True)):
        alone = vlm.run(vlm.inputs([image], [question]), save=needs)
        for probe in (probes.cross_modality_balance, probes.hidden_norms):
            assert_close(probe(batch)[row], probe(alone)[0])
        together, own = (probes.rope_sensitivity(run) for run in (batch, alone))
        for name in own:
            assert_close(together[name][row], own[name][0], like=np.append(own[name][0], 1.0))


def test_grouped_heads_are_heads_that_share_their_keys(turning):
    keys = turning.saved.stack(rope.NEEDS[1])
    groups = turning.saved.stack(rope.NEEDS[0]).shape[-2] // keys.shape[-2]
    own = {
        name: x.repeat_interleave(groups, dim=2) if name.endswith("rot_k") else x
        for name, x in turning.saved.items()
    }
    single = replace(turning, saved=vl.ActivationCache(own, {}))
    grouped, repeated = (probes.rope_sensitivity(run) for run in (turning, single))
    for name in grouped:
        like = np.append(repeated[name], 1.0)
        assert_close(grouped[name], repeated[name], like=like, depth=1)


def test_what_cannot_be_turned(turning):
    with pytest.raises(InputError, match="a rotation by 0 changes nothing"):
        probes.rope_sensitivity(turning, delta=0.0)
    with pytest.raises(InputError, match="there is: past, all"):
        probes.rope_sensitivity(turning, keys="future")
    with pytest.raises(InputError, match="no rotary embedding"):
        probes.rope_sensitivity(replace(turning, rope=None))
    with pytest.raises(UnknownPointError):
        probes.rope_sensitivity(replace(turning, saved=vl.ActivationCache({}, {})))


def test_turning_needs_vision_tokens(vlm):
    text = vlm.run(vlm.inputs([[]], ["What color is the circle?"]), save=rope.NEEDS)
    with pytest.raises(EmptySelectionError, match="sample 0 has no vision tokens"):
        probes.rope_sensitivity(text)


# Norms.


def test_norms_are_those_of_transformers_hidden_states(vlm, inputs):
    found = probes.hidden_norms(vlm.run(inputs, save=norms.NEEDS), roles=("user", "vision", "bos"))
    with torch.no_grad():
        states = vlm.hf_model(**inputs.tensors, output_hidden_states=True).hidden_states
    assert found.sizes["depth"] == len(states) == vlm.layers + 1
    for depth, state in enumerate(states):
        lengths = state.norm(dim=-1)
        for row, own in enumerate(inputs.layouts):
            for role in ("user", "vision", "bos"):
                expected = lengths[row, own.mask(role)].mean().item()
                value = found.sel(role=role, depth=depth)[row].item()
                assert_close(value, expected)
    labels = found["depth_label"].values.tolist()
    assert labels[0] == "embedding"
    assert labels[-1] == "after final norm"
    assert labels[1] == "after block 0"


def test_a_role_that_nobody_plays_has_no_norm(vlm):
    found = probes.hidden_norms(vlm.run(vlm.inputs([[]], ["What color?"]), save=norms.NEEDS))
    assert found.sel(role=["vision", "system"]).isnull().all()
    assert found.sel(role="user").notnull().all()


def test_norms_by_hand():
    """Lengths 3, 4, 12 and 5; the start token's 1000 is in no mean."""
    lengths = torch.tensor([[1000.0, 3.0, 4.0, 12.0, 5.0]])
    run = run_saving(["bsvvu"], {"hook_resid_pre": [lengths]})
    saved = dict(run.saved) | {"ln_final.hook_normalized": lengths / 2}
    found = probes.hidden_norms(replace(run, saved=vl.ActivationCache(saved, {})))
    assert found.sel(role="system").values.tolist() == [[3.0, 1.5]]
    assert found.sel(role="vision").values.tolist() == [[8.0, 4.0]]
    assert found.sel(role="user").values.tolist() == [[5.0, 2.5]]
    assert norms.l2(torch.tensor([[3.0, 4.0], [5.0, 12.0]])).tolist() == [5.0, 13.0]
    tagged = run_saving(["btvvu"], {"hook_resid_pre": [lengths]})
    tagged = replace(tagged, saved=vl.ActivationCache(saved, {}))
    assert probes.hidden_norms(tagged).sel(role="user").values.tolist() == [[5.0, 2.5]]
    with_tags = probes.hidden_norms(tagged, tags=True)
    assert with_tags.sel(role="user").values.tolist() == [[4.0, 2.0]]  # (3 + 5) / 2
    assert with_tags.sel(role="vision").values.tolist() == [[8.0, 4.0]]


# Accuracy.


def said_of(samples, texts):
    layouts = tuple(layout("bvu") for _ in samples)
    ids = torch.zeros(len(layouts), 3, dtype=torch.long)
    inputs = vl.Inputs({"input_ids": ids}, layouts, tuple(samples))
    ones = torch.ones(len(layouts), dtype=torch.long)
    return vl.Generation(inputs, ids[:, :1], ones, tuple(texts), ())


def test_accuracy_is_one_number_a_sample():
    samples = [
        vl.Sample("What color?", answer="red", choices=("red", "blue"), id="one"),
        vl.Sample("Which side?", answer="left", choices=("left", "right"), id="two"),
    ]
    generation = said_of(samples, ["Red", "the right one"])
    found = probes.accuracy(generation)
    assert found.values.tolist() == [1.0, 0.0]
    assert found["sample"].values.tolist() == ["one", "two"]
    assert probes.accuracy(generation, gold=["blue", "right"]).values.tolist() == [0.0, 1.0]
    assert probes.answers(generation).values.tolist() == ["Red", "the right one"]


def test_accuracy_needs_answers_and_texts():
    nameless = [vl.Sample("What color?", answer="red"), vl.Sample("Which side?")]
    with pytest.raises(InputError, match="a right answer for every sample"):
        probes.accuracy(said_of(nameless, ["red", "left"]))
    with pytest.raises(InputError):
        probes.accuracy(said_of(nameless[:1], []))  # no tokenizer, no texts
    with pytest.raises(InputError):
        probes.accuracy(said_of(nameless[:1], ["red"]), gold=["red", "blue"])


@pytest.mark.parametrize("padding", ["left", "right"])
def test_the_answers_log_probability_is_the_loss_of_training_on_it(vlm, padding):
    pictures, answers = [picture(0), picture(1)], ["red", "to the left of it"]
    inputs = vlm.inputs(pictures, list(QUESTIONS), answers=answers, padding=padding)
    found = probes.answer_log_prob(vlm.run(inputs))
    for row, (image, question, answer) in enumerate(zip(pictures, QUESTIONS, answers, strict=True)):
        alone = vlm.inputs([image], [question], answers=[answer])
        said = torch.from_numpy(alone.layouts[0].mask("assistant"))
        labels = alone.tensors["input_ids"].masked_fill(~said, -100)
        with torch.no_grad():
            loss = vlm.hf_model(**alone.tensors, labels=labels).loss.item()
        assert_close(found[row].item(), -loss * int(said.sum()))


def test_a_prompt_holds_no_answer(vlm, inputs):
    with pytest.raises(EmptySelectionError, match="sample 0 holds no answer"):
        probes.answer_log_prob(vlm.run(inputs))


def test_samples_are_named_by_their_ids_where_they_have_them(vlm):
    named = [vl.Sample("What?", (picture(n),), id=f"n{n}") for n in range(2)]
    found = probes.hidden_norms(vlm.run(vlm.inputs(named), save=norms.NEEDS))
    assert found["sample"].values.tolist() == ["n0", "n1"]
    twice = [replace(sample, id="same") for sample in named]
    found = probes.hidden_norms(vlm.run(vlm.inputs(twice), save=norms.NEEDS))
    assert found["sample"].values.tolist() == [0, 1]
