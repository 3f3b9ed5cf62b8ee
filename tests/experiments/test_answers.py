"""Missing answers throw nothing away: who has none is named, and the rest is graded."""

import json
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from conftest import by_turns

from vlmlens import probes
from vlmlens.datasets import shapes_2d
from vlmlens.errors import DataError, InputError
from vlmlens.experiments import (
    Answering,
    Choosing,
    Comparing,
    Experiment,
    diagnose,
    diagnose_all,
    permutation_test,
)
from vlmlens.model import HookedVLM

SAMPLES = shapes_2d(6)


@pytest.fixture(scope="module")
def shapes():
    with HookedVLM.from_pretrained("shapes-base") as model:
        yield model


def lacking(*which):
    return [replace(s, answer=None) if n in which else s for n, s in enumerate(SAMPLES)]


def asked(model, samples, **options):
    return permutation_test(model, samples, permutations=1, progress=False, **options)


@pytest.mark.slow
@pytest.mark.parametrize("which", by_turns([[0], [5], [1, 2], [0, 1, 2, 3, 4]], [[1, 2]]))
@pytest.mark.parametrize("batch", by_turns([1, 4, 32], [4]))
def test_some_missing_answers_change_nothing_of_the_others(shapes, which, batch):
    whole, some = (asked(shapes, data, batch=batch) for data in (SAMPLES, lacking(*which)))
    rest = [n for n in range(len(SAMPLES)) if n not in which]
    assert some.attrs["reference"] == "gold"
    assert json.loads(some.attrs["unanswered"]) == [SAMPLES[n].id for n in which]
    for name in ("correct", "log_prob"):
        assert some[name].isel(sample=list(which)).isnull().all()
        np.testing.assert_allclose(
            some[name].isel(sample=rest), whole[name].isel(sample=rest), atol=1e-4
        )
    assert (some["answer"] == whole["answer"]).all()  # it is asked all the same
    index = probes.position_sensitivity_index(some["correct"], some["log_prob"])
    assert index["n"][0] == len(rest)
    expected = whole["correct"].isel(sample=rest).sel(permutation="original").mean()
    assert index["accuracy"][0] == pytest.approx(float(expected))
    assert json.loads(index.attrs["unanswered"]) == [SAMPLES[n].id for n in which]
    flips = probes.answer_flips(some["correct"])
    alone = probes.answer_flips(whole["correct"].isel(sample=rest))
    assert flips.sel(category="overall").equals(alone.sel(category="overall"))


@pytest.mark.parametrize("scoring", by_turns(["greedy", "likelihood"], ["greedy"]))
@pytest.mark.parametrize("empty", ["", " ", "\n\t"])
def test_an_empty_answer_is_a_missing_one(shapes, empty, scoring):
    blank = [replace(s, answer=empty) if n == 2 else s for n, s in enumerate(SAMPLES)]
    found = asked(shapes, blank, scoring=scoring)
    assert found.equals(asked(shapes, lacking(2), scoring=scoring))
    assert json.loads(found.attrs["unanswered"]) == [SAMPLES[2].id]
    direct = Experiment(shapes, blank, Answering()).run()
    assert direct["correct"].isnull().values.ravel().tolist() == [n == 2 for n in range(6)]


def test_what_the_model_says_may_be_empty(shapes):
    """Silence that stays silence is the same answer: own answers are no gold ones."""
    said = [replace(s, answer="", choices=()) for s in SAMPLES[:2]]
    found = Experiment(shapes, said, Answering(own=True)).run()
    assert found["correct"].values.ravel().tolist() == [0.0, 0.0]  # it says something


@pytest.mark.slow
@pytest.mark.parametrize("measure", [Answering(), Comparing(), Choosing()])
def test_every_measure_leaves_a_hole_where_an_answer_is_missing(shapes, measure):
    """And none for the others of its batch."""
    for batch in (2, 6):
        found = Experiment(shapes, lacking(1), measure, batch=batch).run()["log_prob"]
        assert found.isnull().values.ravel().tolist() == [n == 1 for n in range(6)]


def test_own_answers_are_taken_only_where_there_are_no_others(shapes):
    found = asked(shapes, lacking(*range(6)))
    assert found.attrs["reference"] == found["correct"].attrs["reference"] == "own"
    assert (found["correct"].sel(permutation="original") == 1).all()
    assert "unanswered" not in found.attrs


@pytest.mark.parametrize("data", [SAMPLES, lacking(2)])
def test_own_answers_can_be_asked_for(shapes, data):
    found = asked(shapes, data, reference="own")
    assert found.attrs["reference"] == "own"
    intact, shuffled = (found["answer"].isel(permutation=n).values for n in (0, 1))
    pairs = zip(shuffled, intact, strict=True)
    kept = [float(probes.grade(a, b) and len(a) == len(b)) for a, b in pairs]
    assert found["correct"].isel(permutation=1).values.tolist() == kept


def test_a_longer_answer_is_another_one(shapes):
    """What holds the old answer's words is right by them, and not the same."""
    sample = replace(SAMPLES[0], choices=())
    said = str(Answering()(shapes, [sample], ())["answer"].values[0])
    assert " " in said or len(said) > 1
    part = replace(sample, answer=said.split()[0])
    longer = Answering()(shapes, [part], ())["correct"].item()
    same = Answering(own=True)(shapes, [part], ())["correct"].item()
    assert same == float(said == part.answer) and longer >= same


def test_what_cannot_be_is_refused(shapes):
    with pytest.raises(DataError, match="none of the 6 samples"):
        asked(shapes, lacking(*range(6)), reference="gold")
    with pytest.raises(DataError, match="none of the 6 samples"):
        asked(shapes, lacking(*range(6)), scoring="likelihood")
    with pytest.raises(InputError, match="there is: gold, own"):
        asked(shapes, SAMPLES, reference="golden")
    with pytest.raises(InputError, match="greedy"):
        asked(shapes, SAMPLES, reference="own", scoring="likelihood")


@pytest.mark.slow
def test_likelihood_leaves_out_by_name_as_well(shapes):
    found = asked(shapes, lacking(3), scoring="likelihood")
    assert json.loads(found.attrs["unanswered"]) == [SAMPLES[3].id]
    assert found["correct"].isnull().sum() == 2  # intact and shuffled


def test_a_diagnosis_counts_the_graded(shapes, tmp_path):
    found = diagnose(shapes, lacking(2), permutations=1, progress=False, folder=tmp_path)
    assert found.psi["n"][0] == 5 and found.results.sizes["sample"] == 6
    assert json.loads(found.results.attrs["unanswered"]) == [SAMPLES[2].id]
    assert found.results["cmb"].notnull().all()


@pytest.mark.slow
def test_everything_is_measured_with_an_answer_missing(shapes):
    found = diagnose_all(shapes, lacking(2), permutations=1, progress=False)
    assert found.tables["controls"]["n"].sel(category="overall").values.tolist() == [5.0] * 4
    assert float(found.tables["doses"]["n"].sel(of="correct").max()) == 5
    assert found.results["lens_log_prob"].isnull().all("layer").values.tolist() == [
        n == 2 for n in range(6)
    ]


def test_no_grade_at_all_is_refused():
    nothing = xr.DataArray(
        np.full((2, 2), np.nan),
        dims=("sample", "permutation"),
        coords={"permutation": ["original", "seed 0"]},
    )
    with pytest.raises(InputError, match="no sample has a right answer"):
        probes.position_sensitivity_index(nothing)
