"""Circuits whose other edges carry means: against torch hooks, and by hand."""

import numpy as np
import pytest
import torch
import xarray as xr
from as_users import as_users
from closeness import assert_apart, assert_close
from conftest import SUMMING, UNLIKE, build, by_turns, picture
from plain import Plain
from test_circuits import QUESTION, ByHand, held, scored, some_of, table

import vlmlens as vl
from vlmlens.errors import VLMLensError
from vlmlens.experiments import Circuit, faithfulness
from vlmlens.experiments.circuits.means import Summed, stretches
from vlmlens.layout import TokenLayout


@pytest.fixture(scope="module")
def shapes():
    with vl.HookedVLM.from_pretrained("shapes-base") as model:
        yield model


@pytest.fixture(scope="module")
def swaps():
    return vl.datasets.counterfactual_pairs(2, kind="swap")


@pytest.fixture(scope="module")
def pair():
    return tuple(vl.Sample(QUESTION, images=(picture(seed),)) for seed in (0, 1))


@pytest.fixture(scope="module")
def averaged():
    return [vl.Sample(QUESTION, images=(picture(seed),)) for seed in (2, 3, 4)]


class ByHandOfMeans(ByHand):
    """The same, begun from a run in which hooks have every head and MLP write its mean."""

    base = None

    def __init__(self, vlm, samples):
        super().__init__(vlm)
        given = [vlm.inputs([sample]) for sample in samples]
        recorded = [self.recorded(inputs) for inputs in given]
        layers = list(enumerate(self.blocks))
        self.z = {at: mean([z[at] for _, z, _, _ in recorded]) for at, _ in layers}
        self.wrote = [
            mean([self.after_mlp(block, mlps[at]) for *_, mlps in recorded]) for at, block in layers
        ]
        self.into = mean([self.entering(inputs, self.blocks[0]) for inputs in given])
        self.deep = mean([self.added(inputs) for inputs in given])

    def begin(self, corrupted):
        self.base = None
        deep = self.deep - self.added(corrupted)  # what the run itself adds is not the mean
        self.base = corrupted

        def whole(x):
            return lambda m, a, k: ((x, *a[1:]), k)

        def more(x):
            return lambda m, a, k: ((a[0] + x, *a[1:]), k)

        self.before = [(self.blocks[0], whole(self.into)), (self.blocks[1], more(deep))]
        self.after = []
        for at, block in enumerate(self.blocks):
            self.before.append((block.self_attn.o_proj, whole(self.z[at])))
            module = getattr(block, "post_feedforward_layernorm", block.mlp)
            self.after.append((module, lambda m, a, out, fixed=self.wrote[at]: fixed))

    def added(self, inputs):
        return self.deep if inputs is self.base else super().added(inputs)

    def entering(self, inputs, module, before=()):
        if inputs is not self.base:
            return super().entering(inputs, module, before)
        got = {}
        look = (module, lambda m, a, k: got.update(x=a[0] if a else k["hidden_states"]))
        self.run(inputs, [*self.before, look], self.after)
        return got["x"].clone()


def mean(tensors):
    return torch.stack(tensors).mean(0)


@pytest.mark.slow
@pytest.mark.parametrize("name", by_turns(SUMMING, UNLIKE))
def test_a_circuits_run_among_means_is_that_of_a_slow_reference(name, pair, averaged):
    with vl.HookedVLM(*build(name), name=name) as vlm:
        whole = Circuit.every(table(vlm, pair))
        circuit = some_of(whole, 0.5)
        inputs = [vlm.inputs([sample]) for sample in pair]
        with torch.no_grad():
            plain = ByHandOfMeans(vlm, averaged)
            kept = (circuit, whole - circuit, whole - whole)
            logits = [plain.logits(*inputs, own) for own in kept]
        found = held(vlm, circuit, pair, others="mean", means_of=averaged)
        expected = [scored(own).item() for own in logits]
        assert_close(found["score"].values[:, 0, 0], np.array(expected[:2]), like=logits[0])
        assert_close(found["none"].item(), expected[2], like=logits[2])
        assert_apart(logits[0], logits[1])
        assert_apart(logits[2], Plain(vlm).run(inputs[1]))


@pytest.mark.parametrize("name", by_turns(["llava", "gemma3", "qwen3_vl", "qwen3_5"], ["qwen3_vl"]))
def test_all_edges_among_means_are_the_model_and_none_are_the_means(name, pair, averaged):
    with vl.HookedVLM(*build(name), name=name) as vlm:
        whole = Circuit.every(table(vlm, pair))
        found = held(vlm, [whole, whole - whole], pair, others="mean", means_of=averaged)
        logits = vlm.run(vlm.inputs([pair[0]])).logits
        ends = np.array([scored(logits[:, -1]).item(), found["none"].item()])
        assert_close(found["score"].sel(kept="circuit").values[:, 0], ends, like=logits)
        assert_close(found["score"].sel(kept="rest").values[:, 0], ends[::-1], like=logits)


def layout_of(roles, rows):
    """A prompt, with its image's rows from the top."""
    row = np.full(len(roles), -1)
    row[[at for at, role in enumerate(roles) if role == "vision"]] = rows
    seen = np.where(row >= 0, 0, -1)
    boxes = np.full((len(roles), 4), np.nan)
    return TokenLayout(tuple(roles), ("",) * len(roles), seen, row, seen.copy(), boxes)


def test_stretches_that_differ_share_one_mean_and_others_have_one_each_by_hand():
    roles = ["bos", "vision", "vision", "user"]
    prompts = [layout_of(roles, [0, 1]), layout_of([*roles, "user"], [0, 1])]
    values = torch.tensor([1.0, 2.0, 4.0, 7.0]), torch.tensor([3.0, 6.0, 8.0, 1.0, 4.0])
    sums = [Summed(own) for own in stretches(prompts[0])]
    for prompt, x in zip(prompts, values, strict=True):
        for one, stretch in zip(sums, stretches(prompt), strict=True):
            one.add(stretch, {"x": x[stretch.at, None]})

    def means(prompt):
        pieces = zip(sums, stretches(prompt), strict=True)
        return [(one.of(own)["x"] / 2)[:, 0].tolist() for one, own in pieces]

    # The image aligns; the question does not: (7 + (1 + 4) / 2) / 2.
    assert means(prompts[0]) == means(prompts[1]) == [[2.0], [4.0, 6.0], [4.75]]
    # Another grid has no counterpart: ((2 + 4) / 2 + (6 + 8) / 2) / 2.
    assert means(layout_of(roles, [0, 0])) == [[2.0], [5.0], [4.75]]
    padded = stretches(prompts[0].padded(6, "left"))
    assert padded == stretches(prompts[0]) and padded[1].at == slice(3, 5)


@pytest.mark.slow
def test_pairs_run_together_have_the_means_of_those_run_alone(shapes, swaps, tmp_path):
    """Questions of several lengths are among them."""
    circuit = Circuit([("image", "L0H1.v"), ("L0H1", "M1"), ("M1", "logits"), ("M2", "logits")])
    options = {"others": "mean", "progress": False}
    alone = faithfulness(shapes, circuit, swaps, **options)
    together = faithfulness(shapes, circuit, swaps, batch=2, folder=tmp_path, **options)
    xr.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-3)
    again = faithfulness(shapes, circuit, swaps, batch=2, folder=tmp_path, **options)
    xr.testing.assert_identical(again, together)
    one = [swaps[0].clean]
    other = faithfulness(shapes, circuit, swaps, folder=tmp_path, means_of=one, **options)
    assert_apart(other["none"].values, alone["none"].values)
    gained = (alone["score"] - alone["none"]).sum("sample").isel(circuit=0)
    shares = (gained / (alone["clean"] - alone["none"]).sum()).values
    assert_close(alone["faithfulness"].item(), shares[0])
    assert_close(alone["completeness"].item(), 1 - shares[1])


def test_slips_of_means_are_named(shapes, swaps):
    circuit = Circuit([("image", "logits")])
    plain = vl.Sample("What is this?")
    for given, said in (
        ({"others": "zero"}, "corrupted, mean"),
        ({"means_of": [plain]}, "others='mean'"),
        ({"others": "mean", "means_of": []}, "needs samples"),
        ({"others": "mean", "means_of": [plain]}, "built alike"),
    ):
        with as_users(), pytest.raises(VLMLensError, match=said):
            faithfulness(shapes, circuit, swaps, progress=False, **given)
