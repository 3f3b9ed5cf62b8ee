"""The study: conditions do what they say, seeds are pooled by question, results are stored."""

import numpy as np
import pytest
import xarray as xr

import vlmlens as vl
from vlmlens.datasets import shapes_2d
from vlmlens.errors import DataError
from vlmlens.experiments import Answering, Experiment, Reciting
from vlmlens.interventions import PermuteVision
from vlmlens.study import (
    CONDITIONS,
    condition_table,
    difference_table,
    dose_table,
    each_run,
    pooled,
    psi_table,
)
from vlmlens.study.arms import cells_of, seeds_of
from vlmlens.study.conditions import DOSES, SHUFFLES, Condition
from vlmlens.study.measuring import answered
from vlmlens.study.runs import finished, measure_runs, small

NAMES = ["base-kept-x1-0", "base-kept-x1-1"]


@pytest.fixture(scope="module")
def model():
    with vl.HookedVLM.from_pretrained("shapes-base") as opened:
        yield opened


@pytest.fixture
def answers():
    """Two seeds, two questions: the first is always right, the second only with seed 0 intact."""
    right = np.zeros((2, len(CONDITIONS), 2))
    right[:, :, 0] = 1
    right[0, 0, 1] = 1
    return xr.Dataset(
        {"correct": (("model", "condition", "sample"), right)},
        coords={
            "model": NAMES,
            "condition": list(CONDITIONS),
            "sample": ["a", "b"],
            "category": ("sample", ["object", "color_rel"]),
            "chance": ("sample", [0.5, 0.25]),
        },
    )


def test_seeds_are_pooled_and_a_question_stays_one_question(answers):
    both = pooled(answers, NAMES)
    assert both.sizes["sample"] == 4
    assert both["item"].values.tolist() == ["a", "b", "a", "b"]
    found = psi_table(answers, {"base": NAMES}).sel(arm="base")
    assert found["accuracy"].sel(category="overall").item() == 0.75
    assert found["accuracy_permuted"].sel(category="overall").item() == 0.5
    assert found["psi"].sel(category="overall").item() == pytest.approx(100 / 3)
    assert found["psi"].sel(category="object").item() == 0
    # Questions are drawn with both seeds' answers: two draws say nothing of a ratio.
    assert found["units"].sel(category="overall").item() == 2
    ends = found[["psi_low", "psi_high"]].sel(category="overall")
    assert np.isnan([ends["psi_low"].item(), ends["psi_high"].item()]).all()


def test_a_run_by_itself_has_the_same_figures_as_a_pool_of_one(answers):
    alone = each_run(answers).sel(model=NAMES[0])
    one = psi_table(answers, {"one": NAMES[:1]}).sel(arm="one")
    for name in ("accuracy", "psi"):
        for category in ("overall", "object", "color_rel"):
            assert alone[name].sel(category=category) == one[name].sel(category=category)


def test_what_a_condition_leaves_is_told_by_category(answers):
    found = condition_table(answers, {"base": NAMES}, ["noise"]).sel(arm="base", control="noise")
    assert found["accuracy_permuted"].sel(category="object").item() == 1
    assert found["accuracy_permuted"].sel(category="color_rel").item() == 0
    assert found["accuracy"].sel(category="color_rel").item() == 0.5


def test_a_difference_is_taken_question_by_question(answers):
    found = difference_table(answers, NAMES[:1], NAMES[1:])
    assert found["mean"].sel(category="overall").item() == 0.5  # 0 for "a", 1 for "b"
    ends = found[["low", "high"]].sel(category="overall")
    assert ends["low"].item() < 0.01
    assert ends["high"].item() > 0.99
    assert found["mean"].sel(category=["object", "color_rel"]).values.tolist() == [0, 1]
    whole = difference_table(answers, NAMES, NAMES[1:]).sel(category="overall")
    assert whole["mean"].item() == 0.25


def test_doses_go_from_nothing_to_everything(answers):
    found = dose_table(answers, {"base": NAMES}, ["color_rel", "object"]).sel(arm="base")
    assert found["dose"].values.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert found["mean"].values.tolist() == [0.75, 0.5, 0.5, 0.5, 0.5]
    assert DOSES[1.0] in SHUFFLES


def test_runs_are_told_apart_by_their_names():
    models = [*NAMES, "both-kept-x1-0", "base-zeroed-x1-0", "base-kept-x10-1", "base-kept-x10-0"]
    assert seeds_of(models) == {"base": NAMES, "both": ["both-kept-x1-0"]}
    assert cells_of(models) == {
        ("kept", "x1"): NAMES,
        ("kept", "x10"): ["base-kept-x10-0", "base-kept-x10-1"],
        ("zeroed", "x1"): ["base-zeroed-x1-0"],
    }


def test_reciting_is_answering_word_for_word(model):
    samples = shapes_2d(8, seed=5, size=64)
    edits = {"intact": (), "shuffled": (PermuteVision(),)}
    said = Experiment(model, samples, Answering(max_new_tokens=5), edits).run()
    recited = Experiment(model, samples, Reciting(), edits).run()
    exact = said["answer"] == [sample.answer for sample in samples]
    assert (recited["correct"] == exact).all()
    assert 0 < float(recited["correct"].mean()) < 1
    np.testing.assert_allclose(recited["log_prob"], said["log_prob"], atol=1e-4)
    with pytest.raises(DataError, match="has no right answer"):
        Experiment(model, [vl.Sample("?", samples[0].images)], Reciting()).run()


def test_every_condition_is_asked_of_every_question(model):
    samples = shapes_2d(2, seed=5, size=64)
    found = answered(model, samples, None)
    assert found["condition"].values.tolist() == list(CONDITIONS)
    apart = found["log_prob"] - found["log_prob"].sel(condition="original")
    assert (abs(apart.drop_sel(condition="original")) > 0).any("sample").all()
    assert Condition(control="text only").asked(samples)[0].images == ()


def test_results_are_stored_small(tmp_path):
    table = xr.Dataset(
        {"correct": ("sample", [1.0, 0.0]), "log_prob": ("sample", [-0.12345, -3.0])}
    )
    kept = small(table)
    assert kept["correct"].dtype == np.int8 and kept["correct"].values.tolist() == [1, 0]
    np.testing.assert_allclose(kept["log_prob"], [-0.12, -3.0], rtol=1e-6)


def test_runs_that_are_not_there_are_named(tmp_path):
    assert finished(tmp_path) == {}
    with pytest.raises(DataError, match="no finished run base-kept-x1-7"):
        measure_runs(tmp_path, tmp_path, ["base-kept-x1-7"])
