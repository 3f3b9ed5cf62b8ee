"""Paths, edges and circuits by every score: their ends are plain transformers', and add up."""

import numpy as np
import pytest
import torch
import xarray as xr
from as_users import as_users
from closeness import assert_apart, assert_close
from conftest import build, by_turns, picture

import vlmlens as vl
from vlmlens.errors import InputError
from vlmlens.experiments import Circuit, SampleScore, edges, faithfulness, path_patch
from vlmlens.experiments.circuits.twins import Twins

QUESTION = "What color is the circle?"
ANSWERS = ("red square", "blue")
EVERYTHING = [("embed", "L*H*", "M*")]


@pytest.fixture(scope="module", params=["qwen2_5_vl"])
def vlm(request):
    with vl.HookedVLM(*build(request.param), name=request.param) as model:
        yield model


@pytest.fixture(scope="module")
def pair():
    samples = (vl.Sample(QUESTION, images=(picture(seed),)) for seed in (0, 1))
    return tuple(
        vl.Sample(each.question, each.images, answer=said)
        for each, said in zip(samples, ANSWERS, strict=True)
    )


def weighed(logits, sample, layout):
    """A score that knows how long its sample's question is, and where its image begins."""
    assert logits.shape[1] == len(layout.positions("user"))
    size = len(sample.question) / 10 + layout.positions("vision")[0]
    return size * (logits[:, :, 7] - logits[:, :, 11]).mean(1)


SCORES = {
    "kl": {"score": "kl"},
    "answer_log_prob": {"score": "answer_log_prob"},
    "answer_difference": {"score": "answer_difference"},
    "given": {"answers": ("blue", "red")},
    "own": {"score": SampleScore(weighed, positions="user")},
}


def by_transformers(vlm, name, pair):
    """The score of either run, from logits alone."""

    def logits(sample, answer=None):
        inputs = vlm.inputs([sample], answers=None if answer is None else [answer])
        with torch.no_grad():
            return inputs, vlm.hf_model(**dict(inputs.tensors)).logits[0].double()

    def said(sample, answer):
        inputs, made = logits(sample, answer)
        prompt = len(vlm.inputs([sample]).layouts[0])
        ids = inputs.tensors["input_ids"][0, prompt:]
        return made[prompt - 1 : -1].log_softmax(-1).gather(1, ids[:, None]).sum().item()

    if name == "kl":
        p, *both = (logits(sample)[1][-1].log_softmax(-1) for sample in (pair[0], *pair))
        return [(p.exp() * (p - q)).sum().item() for q in both]
    if name == "answer_log_prob":
        return [said(sample, ANSWERS[0]) for sample in pair]
    if name == "answer_difference":
        return [said(sample, ANSWERS[0]) - said(sample, ANSWERS[1]) for sample in pair]
    if name == "given":
        prompt = len(vlm.inputs([pair[0]]).layouts[0])
        right, wrong = (
            logits(pair[0], answer)[0].tensors["input_ids"][0, prompt] for answer in ("blue", "red")
        )
        return [(made[-1, right] - made[-1, wrong]).item() for _, made in map(logits, pair)]
    found = []
    for sample in pair:
        inputs, made = logits(sample)
        layout = inputs.layouts[0]
        rows = torch.from_numpy(layout.positions("user"))
        found.append(weighed(made[rows][None], sample, layout).item())
    return found


@pytest.mark.parametrize("name", by_turns(SCORES, ["kl", "own"]))
def test_ends_are_transformers_own_and_everything_makes_up_the_way_between(vlm, pair, name):
    options = {"progress": False} | SCORES[name]
    top, floor = by_transformers(vlm, name, pair)
    like = vlm.run(vlm.inputs([pair[0]])).logits.double() * 4  # several rows of logits add up
    paths = path_patch(vlm, *pair, EVERYTHING, normalized=False, **options)
    assert_close(paths["clean"].item(), top, like=like)
    assert_close(paths["corrupted"].item(), floor, like=like)
    assert_close(paths.item(), top - floor, like=like)
    assert_apart(np.array(top), np.array(floor))
    found = edges(
        vlm, [pair], readers="logits", steps=4, along="reader", places=("vision",),
        normalized=False, **options,
    )  # fmt: skip
    assert found.sum().item() == pytest.approx(top - floor, rel=0.02)
    assert found.attrs["units"] == paths.attrs["units"]
    whole = Circuit.every(edges(vlm, [pair], steps=0, normalized=False, **options))
    held = faithfulness(vlm, [whole, whole - whole], [pair], **options)
    for kept, ends in (("circuit", (top, floor)), ("rest", (floor, top))):
        assert_close(held["score"].sel(kept=kept).values[:, 0], np.array(ends), like=like)
    means = faithfulness(vlm, whole, [pair], others="mean", means_of=[pair[1]], **options)
    assert_close(means["none"].item(), floor, like=like)  # a mean over one sample is that sample


@pytest.mark.slow
def test_pairs_with_answers_of_several_lengths_are_run_together_as_alone(vlm, pair):
    swapped = tuple(
        vl.Sample(QUESTION[:-1], each.images, answer=other.answer)
        for each, other in zip(pair, pair[::-1], strict=True)
    )
    pairs, score = [pair, swapped], "answer_difference"
    options = {"score": score, "progress": False}
    (first, *_) = Twins.several(vlm, pairs, score, None, [])
    assert first.wanted is True  # as many rows in both is not to be had
    tables = [
        edges(vlm, pairs, steps=2, batch=batch, normalized=False, **options) for batch in (1, 2)
    ]
    xr.testing.assert_allclose(*tables, rtol=1e-3, atol=1e-5)
    split = edges(vlm, pairs, steps=2, places=("vision", "last"), normalized=False, **options)
    for node, reader in (("L0H1", "L1H0.q"), ("M0", "logits")):
        parts = [each for each in split["writer"].values if each.startswith(f"{node}@")]
        ends = [each for each in split["reader"].values if each.partition("@")[0] == reader]
        total = split.sel(writer=parts, reader=ends).sum(("writer", "reader"))
        whole = tables[0].sel(writer=node, reader=reader)
        np.testing.assert_allclose(total, whole, rtol=1e-3, atol=1e-5)
    circuit = Circuit.top(tables[0], 20)
    means = {"others": "mean", **options}
    held = [faithfulness(vlm, circuit, pairs, batch=batch, **means) for batch in (1, 2)]
    xr.testing.assert_allclose(*held, rtol=1e-3, atol=1e-4)


def test_a_path_at_places_of_the_prompt_is_the_same_beside_an_answer(vlm, pair):
    """Of one receiver at the last position of the prompt, or at every position."""
    options = {"score": "answer_log_prob", "normalized": False, "progress": False}
    last = vl.Where(positions="last")
    whole, at_last = (
        path_patch(vlm, *pair, EVERYTHING, received=where, **options).item()
        for where in (vl.Where(), last)
    )
    # Read at the prompt's last position alone, the logits say the first token and no more.
    inputs = [vlm.inputs([each], answers=[ANSWERS[0]]) for each in pair]
    prompt = len(vlm.inputs([pair[0]]).layouts[0])
    token = inputs[0].tensors["input_ids"][0, prompt]
    with torch.no_grad():
        rows = [vlm.hf_model(**dict(each.tensors)).logits[0, prompt - 1] for each in inputs]
    first = [row.double().log_softmax(-1)[token].item() for row in rows]
    like = vlm.run(vlm.inputs([pair[0]])).logits.double() * 4
    assert_close(at_last, first[0] - first[1], like=like)
    assert_apart(np.array(at_last), np.array(whole))


def test_what_has_no_gradient_is_refused_by_edges_alone(vlm, pair):
    def best(logits):
        return logits.argmax(-1).float()

    with as_users(), pytest.raises(InputError, match=r"best.*has no gradient"):
        edges(vlm, [pair], best, normalized=False, progress=False)
    path_patch(vlm, *pair, EVERYTHING, score=best, normalized=False, progress=False)
    for call in (
        lambda: edges(vlm, [pair], answers=("red",), progress=False),
        lambda: path_patch(vlm, *pair, EVERYTHING, answers="red", progress=False),
        lambda: faithfulness(vlm, Circuit([]), [pair], answers=3, progress=False),
    ):
        with as_users(), pytest.raises(InputError, match="right and a wrong"):
            call()
