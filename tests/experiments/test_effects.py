"""Controls, doses, causal effects, several models, summaries: by hand and on a tiny model."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from closeness import assert_close
from conftest import picture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import vlmlens as vl
from vlmlens import experiments, probes
from vlmlens.errors import InputError
from vlmlens.evaluation import Questions
from vlmlens.evaluation.asking import Plan
from vlmlens.evaluation.conditions import conditions_of
from vlmlens.experiments import Comparing, Probing, blinded, further, summarise
from vlmlens.experiments.blind import CONTROLS
from vlmlens.experiments.reads import passes
from vlmlens.interventions import PermuteVision, Scale
from vlmlens.sample import Sample
from vlmlens.select import Where

SAMPLES = [
    Sample("What color is the circle?", (picture(0),), "blue", ("blue", "red"), "color", "a"),
    Sample("Is the red square left?", (picture(1),), "yes", ("yes", "no"), "place", "b"),
    Sample("What color is the blue star?", (picture(2),), "blue", ("blue", "red"), "color", "c"),
]
BLIND = Scale(point="hook_embed", where=Where(positions="vision"), by=0.0)


@pytest.fixture(scope="module")
def llava():
    from vlmlens.zoo.tiny import build

    with vl.HookedVLM(*build("llava")) as model:
        yield model


# Measures.


def test_comparing_is_the_distance_of_two_runs(llava):
    found = Comparing()(llava, SAMPLES, [BLIND])
    inputs = llava.inputs(SAMPLES, answers=[s.answer for s in SAMPLES])
    clean, blind = llava.run(inputs), llava.run(inputs, [BLIND])
    expected = probes.output_divergence(blind, clean)
    for name in expected:
        assert_close(found[name], expected[name], like=blind.logits)
    fall = probes.answer_log_prob(clean) - probes.answer_log_prob(blind)
    np.testing.assert_allclose(found["log_prob_drop"], fall)
    nothing = Comparing()(llava, SAMPLES, [])
    assert (nothing["kl"] == 0).all() and (nothing["log_prob_drop"] == 0).all()
    unanswered = Comparing()(llava, [replace(s, answer=None) for s in SAMPLES], [BLIND])
    assert set(unanswered) == {"kl", "agree", "top_drop"}


def test_probes_that_save_one_point_in_two_ways_take_two_passes(llava):
    wanted = (probes.hidden_norms, probes.sink_tokens, probes.cross_modality_balance)
    dealt = passes(llava, wanted)
    assert dealt == [[probes.hidden_norms, probes.cross_modality_balance], [probes.sink_tokens]]
    found = Probing(probes=wanted)(llava, SAMPLES, ())
    assert {"hidden_norm", "cmb", "peak", "sink"} <= set(found)
    needs = [*probes.norms.NEEDS, *probes.sinks.NEEDS]
    with pytest.raises(InputError, match="saved in two ways"):
        llava.run(llava.inputs(SAMPLES), save=needs)


# Controls.


def test_what_becomes_of_the_pictures():
    assert [s.images for s in blinded(SAMPLES, "text only")] == [(), (), ()]
    noise = blinded(SAMPLES, "noise")
    assert noise[0].pictures()[0].tobytes() != noise[1].pictures()[0].tobytes()
    assert noise[0].pictures()[0].tobytes() == noise[0].pictures()[0].tobytes()
    assert blinded(SAMPLES, "blank")[0].pictures()[0].getextrema() == ((128, 128),) * 3
    assert blinded(SAMPLES, "other picture")[2].images == SAMPLES[0].images
    for kind in CONTROLS:
        for before, after in zip(SAMPLES, blinded(SAMPLES, kind), strict=True):
            assert replace(after, images=before.images) == before
    with pytest.raises(InputError, match="there is: text only, noise"):
        blinded(SAMPLES, "dark")
    with pytest.raises(InputError, match="no other picture"):
        blinded(SAMPLES[:1], "other picture")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 4), max_size=2), min_size=1, max_size=9))
def test_another_picture_is_never_ones_own(shown):
    """Whatever is asked about whatever pictures, in whatever order, once or often, in copies."""
    images = [tuple(Image.new("RGB", (8, 6), (n, 0, 0)) for n in own) for own in shown]
    asked = [Sample(f"question {k}", each) for k, each in enumerate(images)]
    alone = [
        k for k, own in enumerate(shown)
        if own and not any(other and not set(own) & set(other) for other in shown)
    ]  # fmt: skip
    if alone:
        with pytest.raises(InputError, match=f"for the question 'question {min(alone)}'"):
            blinded(asked, "other picture")
        return
    for own, before, after in zip(shown, asked, blinded(asked, "other picture"), strict=True):
        pixels = {one.getpixel((0, 0))[0] for one in after.images}
        assert not pixels & set(own)
        assert bool(after.images) == bool(own)
        assert replace(after, images=before.images) == before


def test_controls_that_would_leave_a_video_are_refused(llava):
    film = Sample("What moves?", videos=vl.Video([picture(0)] * 2, 2), answer="it", id="film")
    mixed = [*SAMPLES, film]
    assert blinded(mixed, "text only")[-1].videos == ()
    for control in CONTROLS[1:]:
        with pytest.raises(InputError, match=f"'film' has a video, which '{control}' would leave"):
            blinded(mixed, control)
        with pytest.raises(InputError, match="'film' has a video"):
            experiments.controls(llava, mixed, ["text only", control])
        plan = Plan(conditions_of(control.replace(" ", "-")))
        with pytest.raises(InputError, match="'film' has a video"):
            plan.refuse(Questions("mine", mixed, None))


def test_a_diagnosis_of_videos_asks_without_them_alone(monkeypatch):
    film = Sample("What moves?", videos=vl.Video([picture(0)] * 2, 2), answer="it")
    monkeypatch.setattr(
        further, "controls", lambda model, samples, kinds, **how: xr.Dataset({}, {"kind": kinds})
    )
    tables = SimpleNamespace(model=None, answering=None)
    asked = further.Further.blind(tables, SAMPLES, True, {})
    assert asked["kind"].values.tolist() == list(CONTROLS)
    asked = further.Further.blind(tables, [*SAMPLES, film], True, {})
    assert asked["kind"].values.tolist() == ["text only"]


def test_controls_are_asked_the_same_questions(llava):
    found = experiments.controls(llava, SAMPLES, ["text only", "blank"])
    assert found["control"].values.tolist() == ["original", "text only", "blank"]
    alone = experiments.Answering()(llava, blinded(SAMPLES, "text only"), ())
    assert_close(found["log_prob"].sel(control="text only"), alone["log_prob"])
    original = experiments.Answering()(llava, SAMPLES, ())
    np.testing.assert_allclose(
        found["log_prob"].sel(control="original"), original["log_prob"], atol=1e-4
    )
    right = [[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    found["correct"] = (("control", "sample"), np.array(right))
    table = experiments.control_table(found)
    assert table["control"].values.tolist() == ["text only", "blank"]
    assert table["category"].values.tolist() == ["overall", "color", "place"]
    assert table["accuracy"].sel(control="blank", category="overall").item() == pytest.approx(2 / 3)
    blind = table["accuracy_permuted"].sel(category="overall").values
    np.testing.assert_allclose(blind, [1 / 3, 1 / 3])
    assert table["psi"].sel(control="text only", category="color").item() == 100.0


# Doses and causal effects.


def test_doses_are_numbers_on_an_axis(llava):
    edits = [(float(by), (replace(BLIND, by=float(by)),)) for by in (1.0, 0.5, 0.0)]
    found = experiments.dose_effects(llava, SAMPLES, edits, measure=Comparing())
    assert found["kl"].sizes == {"dose": 3, "sample": 3}
    assert found["dose"].values.tolist() == [1.0, 0.5, 0.0]
    assert (found["kl"].sel(dose=1.0) == 0).all()
    response = probes.dose_response(found["kl"])
    assert response["slope"].item() < 0  # less of the image, farther from the clean answer
    with pytest.raises(InputError, match="no doses"):
        experiments.dose_effects(llava, SAMPLES, [])


def test_causal_effects_of_edits_by_name(llava, tmp_path):
    edits = {"shuffled": [PermuteVision(seed=0)], "blind": [BLIND]}
    found = experiments.causal_effects(llava, SAMPLES, edits, folder=tmp_path)
    assert found["intervention"].values.tolist() == ["original", "shuffled", "blind"]
    names = {"kl", "agree", "top_drop", "log_prob", "log_prob_drop", "correct", "answer"}
    assert names <= set(found)
    assert (found["kl"].sel(intervention="original") == 0).all()
    assert (found["kl"].sel(intervention="blind") > 1e-5).all()
    again = experiments.causal_effects(llava, SAMPLES, edits, folder=tmp_path)
    xr.testing.assert_equal(found, again)
    for wrong in ({}, {"original": [BLIND]}):
        with pytest.raises(InputError, match="edits by name"):
            experiments.causal_effects(llava, SAMPLES, wrong)


def test_models_side_by_side(llava):
    from vlmlens.zoo.tiny import build

    with vl.HookedVLM(*build("llava/siglip-qwen2"), name="smaller") as other:

        def norms(model):
            run = model.run(model.inputs(SAMPLES), save=probes.norms.NEEDS)
            return probes.hidden_norms(run).to_dataset()

        found = experiments.compare([llava, other], norms)
        assert found["model"].values.tolist() == [llava.name, "smaller"]
        deeper = max(llava.layers, other.layers)
        assert found.sizes["depth"] == deeper + 1
        alone = norms(other)["hidden_norm"].values
        own = found["hidden_norm"].sel(model="smaller").values
        np.testing.assert_array_equal(own[:, : other.layers + 1], alone)
        assert np.isnan(own[:, other.layers + 1 :]).all()
    with pytest.raises(InputError, match="told apart by their names"):
        experiments.compare([llava, llava], norms)
    assert not llava._closed  # what was open stays open


# Summaries.


def table(**variables):
    rng = np.random.default_rng(0)
    made = {
        name: (("sample", "layer", "head"), rng.normal(mean, 1, (30, 2, 3)))
        for name, mean in variables.items()
    }
    return xr.Dataset(made, coords={"sample": [f"s{n}" for n in range(30)]})


def test_every_variable_has_its_interval_and_some_a_test():
    results = table(delta_g_v=0.0, object_lift=3.0, image_spread=5.0)
    results["object_lift"].attrs["units"] = "ratio"
    results["answer"] = ("sample", ["x"] * 30)
    results["kl"] = ("sample", np.ones(30))
    found = summarise(results)
    np.testing.assert_allclose(found["image_spread"], results["image_spread"].mean("sample"))
    assert (found["image_spread_low"] < found["image_spread"]).all()
    assert "image_spread_p" not in found
    assert "answer" not in found and "kl" not in found
    assert found["object_lift_significant"].values.tolist() == [[1.0] * 3] * 2
    assert found["delta_g_v_significant"].sum() == 0
    assert found["object_lift"].attrs["units"] == "ratio"
    assert found["object_lift_p"].attrs["null"] == "1.0"
    assert found["object_lift_p"].attrs["correction"].startswith("family-wise")
    assert found["image_spread_low"].attrs["correction"].startswith("none")
    bare = summarise(results, correction="none")
    assert bare["delta_g_v_p"].attrs["correction"].startswith("none")


def test_a_balance_is_tested_against_even_attention():
    results = table(cmb=0.7)
    results["cmb"] = 0.7 + results["cmb"] * 0
    results["cmb_uniform"] = ("sample", np.linspace(0.6, 0.8, 30))
    found = summarise(results)
    assert found["cmb_significant"].sum() == 0
    results["cmb_uniform"] = results["cmb_uniform"] + 0.2
    assert summarise(results)["cmb_significant"].sum() == 6


def test_infinite_ratios_are_missing_and_roles_nobody_plays_stay_so():
    results = table(mdi=2.0)
    results["mdi"][0, 0, 0] = np.inf
    results["mdi"][:, 1, 2] = np.nan
    found = summarise(results)
    assert np.isfinite(found["mdi"][0, 0])
    assert found["mdi_n"].values.tolist() == [[29.0, 30.0, 30.0], [30.0, 30.0, 0.0]]
    assert np.isnan(found["mdi"][1, 2])
