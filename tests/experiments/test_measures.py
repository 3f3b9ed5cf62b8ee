"""Likelihood scoring, and measures over any probes."""

import pytest
import torch
from closeness import assert_close
from conftest import picture

import vlmlens as vl
from vlmlens import probes
from vlmlens.errors import DataError
from vlmlens.experiments import Choosing, Probing
from vlmlens.probes import norms
from vlmlens.sample import Sample

CHOICES = ("red", "blue", "yes")
SAMPLES = [
    Sample("What color is the circle?", (picture(0),), "blue", CHOICES, id="a"),
    Sample("Is the red square left?", (picture(1),), "yes", CHOICES[1:], id="b"),
]


def test_the_likeliest_choice_is_the_answer(vlm):
    found = Choosing(rows=2)(vlm, SAMPLES, ())
    for index, sample in enumerate(SAMPLES):
        scores = {}
        for choice in sample.choices:
            inputs = vlm.inputs([sample], answers=[choice])
            scores[choice] = float(probes.answer_log_prob(vlm.run(inputs))[0])
        best = max(scores, key=scores.__getitem__)
        assert str(found["answer"].values[index]) == best
        assert float(found["correct"][index]) == (best == sample.answer)
        assert float(found["log_prob"][index]) == pytest.approx(scores[sample.answer], abs=1e-4)


def test_likelihood_needs_choices(vlm):
    with pytest.raises(DataError, match="'c'"):
        Choosing()(vlm, [Sample("What?", (picture(0),), "red", id="c")], ())


def test_probing_runs_what_its_probes_need(vlm):
    table = Probing(probes=(probes.hidden_norms,))(vlm, SAMPLES, ())
    run = vlm.run(vlm.inputs(SAMPLES), save=norms.NEEDS)
    expected = probes.hidden_norms(run)
    assert_close(table["hidden_norm"], expected)
    assert table["hidden_norm"].dims == ("sample", "depth", "role")
    assert isinstance(run, vl.Run) and torch.isfinite(run.logits).all()
