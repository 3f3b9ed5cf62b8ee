"""Activations that are no numbers are said with the first of them, in whatever block they begin."""

from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torch
from conftest import by_turns, picture

from vlmlens import probes
from vlmlens.cli import tables
from vlmlens.datasets import shapes_2d
from vlmlens.errors import NonFiniteError
from vlmlens.experiments import Answering, Comparing, Experiment, Probing, diagnose, sweep
from vlmlens.interventions import Edit, Scale
from vlmlens.model import HookedVLM
from vlmlens.model.reading.finite import first_broken
from vlmlens.report import summary
from vlmlens.sample import Sample
from vlmlens.select import Where

SAMPLES = [
    Sample("What color is the circle?", (picture(0),), "red", id="a"),
    Sample("What color is the square?", (picture(1, (60, 40)),), "blue", id="b"),
]
MEASURES = [Answering(max_new_tokens=2), Comparing(), Probing(probes=(probes.hidden_norms,))]


@contextmanager
def planted(weight, value):
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.fill_(value)
    try:
        yield
    finally:
        with torch.no_grad():
            weight.copy_(kept)


def weights(vlm, path, kind):
    """One matrix of every block's attention or MLP: that of its last linear map."""
    for number, block in enumerate(vlm.hf_model.get_submodule(path).children()):
        found = [
            p
            for name, p in block.named_parameters()
            if p.ndim >= 2 and any(word in name for word in kind)
        ]
        if found:
            yield number, found[-1]


KINDS = {"attention": ("attn", "attention"), "MLP": ("mlp", "feed_forward", "ffn", "fc")}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", ["blocks", "vision.blocks"])
def test_the_first_point_is_in_the_block_that_is_broken(vlm, part, kind):
    path = vlm.family.lm_layers if part == "blocks" else vlm.family.vision_layers
    inputs = vlm.inputs(SAMPLES[:1])
    assert first_broken(vlm, inputs) is None
    tried = 0
    for number, weight in list(weights(vlm, path, KINDS[kind]))[:2]:
        with planted(weight, float("nan") if number % 2 else float("inf")):
            point = first_broken(vlm, inputs)
            if point is None:  # a tower's last block that nothing reads
                continue
            tried += 1
            assert point.startswith(f"{part}.{number}."), point
            with pytest.raises(NonFiniteError, match=point.replace(".", r"\.")):
                Experiment(vlm, SAMPLES, Answering(max_new_tokens=1), batch=2).run()
    if part == "blocks" and kind == "MLP":
        assert tried == 2


@pytest.fixture(scope="module")
def shapes():
    with HookedVLM.from_pretrained("shapes-base") as model:
        yield model


BROKEN = [(2, float("inf")), (0, float("nan")), (3, float("-inf"))]


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(("layer", "value"), by_turns(BROKEN, BROKEN[:1]))
def test_every_measure_says_so(shapes, measure, value, layer, tmp_path):
    weight = shapes.hf_model.get_submodule(shapes.family.lm_layers)[layer].mlp.down_proj.weight
    with planted(weight, value):
        for folder in (None, tmp_path):  # and keeps nothing of it
            with pytest.raises(NonFiniteError, match=f"sample a: blocks.{layer}.hook_mlp_out"):
                Experiment(shapes, SAMPLES, measure).run(folder)
    assert Experiment(shapes, SAMPLES, measure).run(tmp_path).sizes["sample"] == 2


@pytest.mark.slow
def test_a_diagnosis_says_so_and_goes_on_where_it_may(shapes):
    samples = shapes_2d(4)
    weight = shapes.hf_model.get_submodule(shapes.family.lm_layers)[1].mlp.down_proj.weight
    with planted(weight, float("nan")):
        with pytest.raises(NonFiniteError, match=r"blocks\.1\.hook_mlp_out"):
            diagnose(shapes, samples, permutations=1, progress=False)
        found = diagnose(shapes, samples, permutations=1, progress=False, allow_nonfinite=True)
    known = found.results["cmb"].notnull().all(["sample", "head"]).values
    assert known.any() and not known.all()
    said = f"{known.sum()} of {known.size} layers"
    assert said in tables.gaps(found.results["cmb"])
    assert any(said in each for each in summary.sentences(found.results, None))
    whole = diagnose(shapes, samples, permutations=1, progress=False).results
    assert tables.gaps(whole["cmb"]) == ""
    assert not any("have values" in each for each in summary.sentences(whole, None))


def test_an_edit_that_breaks_is_named(shapes):
    edit = Edit("blocks.2.hook_resid_post", by=lambda x: x / 0, where=Where(positions="vision"))
    with pytest.raises(NonFiniteError, match=r"under Edit.*blocks\.2\.hook_resid_post"):
        Experiment(shapes, SAMPLES, Answering(), {"huge": (edit,)}).run()


def test_the_head_may_forbid_tokens(shapes):
    """A logit of minus infinity forbids a token; NaN, or plus infinity, is an accident."""
    head = shapes.hf_model.get_output_embeddings()
    for value, broken in ((float("-inf"), False), (float("nan"), True), (float("inf"), True)):

        def forbid(module, given, made, value=value):
            made = made.clone()
            made[..., -1] = value
            return made

        hook = head.register_forward_hook(forbid, prepend=True)
        try:
            if broken:
                with pytest.raises(NonFiniteError, match="sample a"):
                    Experiment(shapes, SAMPLES, Answering()).run()
            else:
                assert Experiment(shapes, SAMPLES, Answering()).run().sizes["sample"] == 2
        finally:
            hook.remove()


SWEEPS = {
    "patching": {"corrupted": SAMPLES[1:], "normalized": False},
    "an edit": {"edit": Scale(by=0.0), "score": "log_prob"},
    "heads": {
        "edit": Scale(by=0.0),
        "score": "log_prob",
        "point": "blocks.*.hook_z",
        "over": "head",
    },
    "patching, log p": {"corrupted": SAMPLES[1:], "normalized": False, "score": "log_prob"},
}


@pytest.mark.slow
@pytest.mark.parametrize("how", SWEEPS)
@pytest.mark.parametrize(("layer", "value"), by_turns(BROKEN, BROKEN[:1]))
def test_every_sweep_says_so(shapes, how, value, layer, tmp_path):
    weight = shapes.hf_model.get_submodule(shapes.family.lm_layers)[layer].mlp.down_proj.weight
    options = {"over": "role", "progress": False} | SWEEPS[how]
    with planted(weight, value):
        for folder in (None, tmp_path):  # and keeps nothing of it
            with pytest.raises(NonFiniteError, match=f"sample a: blocks.{layer}.hook_mlp_out"):
                sweep(shapes, SAMPLES[:1], folder=folder, **options)
        found = sweep(shapes, SAMPLES[:1], folder=tmp_path, allow_nonfinite=True, **options)
        assert found.isnull().any()
    assert np.isfinite(sweep(shapes, SAMPLES[:1], folder=tmp_path, **options)).all()


def test_a_cell_that_breaks_is_named(shapes):
    """The runs that it starts from are whole; its own edit is not."""
    with pytest.raises(NonFiniteError, match=r"sample a under .*blocks\.0\.hook_resid_pre"):
        huge = Scale(by=1e39)
        sweep(shapes, SAMPLES[0], edit=huge, over="role", score="log_prob", progress=False)
    one = partial(torch.full, (), float("inf"))
    with pytest.raises(NonFiniteError, match="the score of its last position is"):
        sweep(
            *(shapes, SAMPLES[0]),
            edit=Scale(by=0.5),
            over="role",
            score=lambda logits: logits[:, 0] * 0 + one(),
            progress=False,
        )
