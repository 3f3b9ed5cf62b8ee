"""Likelihood scoring, and measures over any probes."""

from dataclasses import replace

import pytest
import torch
from closeness import assert_close
from conftest import picture

import vlmlens as vl
from vlmlens import probes
from vlmlens.errors import DataError, InputError
from vlmlens.experiments import Choosing, Probing, permutation_test
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


UNEVEN = [
    Sample(
        "What color is the circle?", (picture(0),), "blue", ("is the red square", "blue"), id="a"
    ),
    Sample("Is the red square left?", (picture(1),), "no", ("yes", "no", "the blue star"), id="b"),
]


@pytest.mark.parametrize("form", ["sum", "per-token", "per-byte", "calibrated"])
def test_forms_of_likelihood(form, vlm):
    """Each worked out from the model's own passes, one choice at a time."""
    found = Choosing(form=form, width=3)(vlm, UNEVEN, ())
    for index, sample in enumerate(UNEVEN):
        scores = []
        for place, choice in enumerate(sample.choices):
            inputs = vlm.inputs([sample], answers=[choice])
            log_p = float(probes.answer_log_prob(vlm.run(inputs))[0])
            tokens = len(inputs.layouts[0].positions("assistant"))
            blind = vlm.run(vlm.inputs([replace(sample, images=())], answers=[choice]))
            without = float(probes.answer_log_prob(blind)[0])
            ways = {"sum": log_p, "per-token": log_p / tokens, "per-byte": log_p / len(choice)}
            scores.append((ways | {"calibrated": log_p - without})[form])
            cell = found.isel(sample=index, choice=place)
            assert float(cell["choice_log_prob"]) == pytest.approx(log_p, abs=1e-4)
            assert float(cell["choice_tokens"]) == tokens
            known = float(cell["choice_blind"])
            if form == "calibrated":
                assert known == pytest.approx(without, abs=1e-4)
            else:
                assert known != known
        assert str(found["answer"].values[index]) == sample.choices[scores.index(max(scores))]
    assert found["choice_log_prob"].isel(sample=0, choice=2).isnull()
    assert "choice_log_prob" not in Choosing(form=form)(vlm, SAMPLES, ())


def test_the_form_stands_in_results_and_what_cannot_be_is_refused(vlm):
    found = permutation_test(vlm, UNEVEN, permutations=1, scoring="likelihood:per-token")
    assert found.attrs["scoring"] == "likelihood:per-token"
    with pytest.raises(InputError, match="likelihood:per-byte"):
        permutation_test(vlm, UNEVEN, scoring="likelihood:per-word")
    with pytest.raises(InputError, match="form='sums'; there is: sum, per-token"):
        Choosing(form="sums")
    with pytest.raises(InputError, match="nothing to calibrate"):
        Choosing(form="calibrated")(vlm, [replace(SAMPLES[0], images=())], ())


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
