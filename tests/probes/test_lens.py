"""Logit lens and linear probes: laws on real runs, and answers that are planted."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from closeness import assert_close
from conftest import QUESTIONS, build, picture
from hand import layout, run_saving
from PIL import Image

import vlmlens as vl
from vlmlens import probes
from vlmlens.errors import InputError
from vlmlens.probes import linear


def test_at_the_last_block_the_lens_is_the_model(vlm, inputs):
    need = probes.lens_needs(vlm, best=3, targets=(5, 7))
    run = vlm.run(inputs, save=need)
    found = probes.logit_lens(run, need, vlm.processor.tokenizer)
    log_p = run.logits.log_softmax(-1)
    top = log_p.topk(3, -1)
    for row, own in enumerate(inputs.layouts):
        at = ~own.mask("pad")
        last = found.isel(sample=row, layer=-1, pos=at)
        assert_close(last["log_prob"], top.values[row, at], like=run.logits)
        assert (last["token"].values == top.indices[row, at].numpy()).all()
        assert_close(last["target_log_prob"], log_p[row, at][:, [5, 7]], like=run.logits)
        assert (found["token"].values[row][:, ~at] == -1).all()
        assert found["log_prob"].isel(sample=row, pos=~at).isnull().all()
    ids, words = found["token"].values, found["word"].values
    assert words[ids >= 0][0] == vlm.processor.tokenizer.decode([ids[ids >= 0][0]])
    assert found["role"].values[0].tolist() == list(inputs.layouts[0].roles)


@pytest.mark.parametrize("name", ["hyperclovax_vision_v2", "paligemma/gemma2"])
def test_what_is_done_with_logits_after_the_unembedding_is_done_in_the_lens(name):
    """They are multiplied with a number, or capped."""
    with vl.HookedVLM(*build(name)) as vlm:
        given = vlm.inputs([picture(0)], [QUESTIONS[0]])
        run = vlm.run(given, save=["blocks.*.hook_resid_post", "hook_logits"])
        assert not torch.allclose(run.saved["hook_logits"], run.logits)
        last = run.saved[f"blocks.{vlm.layers - 1}.hook_resid_post"]
        read = probes.lens.log_probabilities(vlm, last)
    assert_close(read, run.logits.log_softmax(-1), like=run.logits)


def test_a_small_chunk_reads_the_same(vlm, inputs):
    need = probes.lens_needs(vlm, best=2)
    small = vl.Save(need.points, reduce=probes.lens.Lens(vlm, 2, (), 3))
    one, other = (probes.logit_lens(vlm.run(inputs, save=n), n) for n in (need, small))
    assert (one["token"] == other["token"]).all()
    assert "word" not in one and "target_log_prob" not in one


def test_which_word_is_at_which_patch(vlm, inputs):
    need = probes.lens_needs(vlm, best=1)
    run = vlm.run(inputs, save=need)
    found = probes.logit_lens(run, need, vlm.processor.tokenizer)
    words = probes.on_image(found["word"].isel(rank=0), run)
    assert words.dims == ("sample", "layer", "row", "column")
    own = inputs.layouts[1]
    position = own.vision(0)[own.grid()[1] + 1]  # row 1, column 1
    assert words[1, 0, 1, 1].item() == found["word"][1, 0, position, 0].item()
    log_p = probes.on_image(found["log_prob"], run)
    assert log_p.dims == ("sample", "layer", "rank", "row", "column")
    assert log_p[1, 0, 0, 1, 1].item() == found["log_prob"][1, 0, position, 0].item()


def test_a_lens_reads_what_it_asked_for(vlm, inputs):
    with pytest.raises(InputError, match="at least one word"):
        probes.lens_needs(vlm, best=0)
    with pytest.raises(InputError, match="lens_needs"):
        probes.logit_lens(vlm.run(inputs), vl.Save("hook_embed"))


def test_watching_through_a_lens_does_not_come_by_the_models_own_points(vlm, inputs):
    run = vlm.run(inputs, save=[probes.lens_needs(vlm), "hook_logits"])
    assert torch.equal(run.saved["hook_logits"], run.logits)


# Linear probes.


def planted(pictures=12, noise=0.3, seed=0):
    """A 3 x 3 grid whose tokens hold their row in channel 0, and nothing of their column."""
    rng = np.random.default_rng(seed)
    letters = ["b" + "v" * 9 + "u"] * pictures
    x = rng.normal(0, 1, (pictures, 11, 6))
    x[:, 1:10, 0] = np.repeat([-3.0, 0.0, 3.0], 3) + rng.normal(0, noise, (pictures, 9))
    x[:, 1:10, 1] = np.repeat([0.0, 2.0, 0.0], 3)  # so that the middle can be told linearly
    empty = rng.normal(0, 1, (pictures, 11, 6))
    tensors = {"hook_resid_pre": [torch.tensor(t, dtype=torch.float) for t in (empty, x)]}
    return run_saving(letters, tensors, columns=3)


def test_what_is_planted_is_found_where_it_is():
    found = probes.linear_probe(planted(), "row")
    assert found["accuracy"].dims == ("layer",)
    empty, full = found["accuracy"].values
    assert full > 0.98
    assert found["accuracy_low"].values[0] < 1 / 3 + 0.1
    assert empty < 0.5
    assert (found["control"] < 0.5).all()
    np.testing.assert_allclose(found["majority"], 1 / 3, atol=0.01)
    assert found["per_picture"].sizes == {"sample": 12, "layer": 2}
    column = probes.linear_probe(planted(), "column")
    assert (column["accuracy"] < 0.5).all()


def test_tokens_without_a_label_are_left_out():
    run = planted()
    labels = [["", "a", "", "", "b", "", "", "", ""]] * 12
    found = probes.linear_probe(run, labels)
    assert found.attrs["n"] == 24
    assert found["accuracy"].values[1] > 0.98
    two = [planted(6), planted(6, seed=1)]
    together = probes.linear_probe(two, "row")
    assert together["per_picture"].sizes["sample"] == 12
    assert together["accuracy"].values[1] > 0.98


def test_no_picture_is_on_both_sides():
    """Labels that are the picture's own number cannot be read off pictures never seen."""
    run = planted()
    found = probes.linear_probe(run, [[str(n)] * 9 for n in range(12)])
    assert found["accuracy"].max() == 0.0


def test_questions_about_one_picture_are_on_one_side():
    """Labels tossed for every patch cannot be read off pictures never seen, however often asked."""
    rng = np.random.default_rng(0)
    number = np.repeat(np.arange(8), 3)  # three questions about each of eight pictures
    patches = rng.normal(0, 1, (8, 9, 128))
    tossed = rng.integers(0, 2, (8, 9)).astype(str)
    x = rng.normal(0, 1, (24, 11, 128))
    x[:, 1:10] = patches[number] + rng.normal(0, 0.01, (24, 9, 128))
    run = run_saving(
        ["b" + "v" * 9 + "u"] * 24,
        {"hook_resid_pre": [torch.tensor(x, dtype=torch.float)]},
        columns=3,
    )
    samples = tuple(
        vl.Sample(f"question {k}", (Image.new("RGB", (9, 9), (20 * n, 0, 0)),))
        for k, n in enumerate(number)
    )
    asked = replace(run, inputs=replace(run.inputs, samples=samples))
    labels = [list(tossed[n]) for n in number]
    found = probes.linear_probe(asked, labels)
    assert len(set(found["per_picture"]["picture"].values)) == 8
    assert abs(found["accuracy"].item() - 0.5) < 0.15
    assert found["accuracy_low"].item() < found["majority"].item()
    # The same without its pictures takes every question for another picture, and reads them off.
    assert probes.linear_probe(run, labels)["accuracy"].item() > 0.85
    with pytest.raises(InputError, match="two pictures"):
        alone = replace(run.inputs, samples=(samples[0],) * 24)
        probes.linear_probe(replace(run, inputs=alone), labels)


def test_the_interval_is_that_of_so_many_tokens_of_so_many_pictures():
    """Tossed labels: about as wide as 2 x 1.96 standard errors of all tokens, and not of few."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, (40, 9)).astype(str)
    found = probes.linear_probe(planted(40), [list(own) for own in labels])
    width = (found["accuracy_high"] - found["accuracy_low"]).values
    tokens = 2 * 1.96 * np.sqrt(0.25 / labels.size)
    assert (width > 0.7 * tokens).all()
    assert (width < 1.6 * tokens).all()
    # Pictures that are all right or all wrong are as few answers as there are pictures.
    whole = [[str(n % 2)] * 9 for n in range(12)]
    found = probes.linear_probe(planted(12), whole)
    assert (found["accuracy_high"] - found["accuracy_low"] > 0.2).all()
    sure = probes.linear_probe(planted(12, noise=0.0), [["a", *"bbbbbbbb"]] * 12)
    assert 0.6 < sure["accuracy_low"].values[1] < 0.9


def test_labels_by_boxes():
    own = layout("bvvvvu", columns=2)
    boxes = {"red": (0, 0, 10, 20), "blue": (10, 10, 20, 20)}
    assert probes.labels_in_boxes(own, boxes) == ["red", "", "red", "blue"]
    both = boxes | {"green": (0, 0, 5, 5)}
    assert probes.labels_in_boxes(own, both) == ["", "", "red", "blue"]  # two claim the first


def test_what_a_probe_cannot_be_trained_on():
    run = planted(3)
    for labels, message in [
        ("depth", "there is: row, column"),
        ([["a"] * 9] * 3, "two different labels"),
        ([["a"] * 8] * 3, "9, 9, 9"),
    ]:
        with pytest.raises(InputError, match=message):
            probes.linear_probe(run, labels)
    with pytest.raises(InputError, match="two pictures"):
        probes.linear_probe(planted(1), "row")
    assert linear.NEEDS[0].points == "blocks.*.hook_resid_pre"
