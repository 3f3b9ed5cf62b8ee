"""Results of other patch versions: only where the folder says so, and then it is said."""

import numpy as np
import pytest
import torch
import xarray as xr
from as_users import as_users
from conftest import QUESTIONS, build, picture

import vlmlens as vl
from vlmlens.errors import InputError
from vlmlens.evaluation import evaluate
from vlmlens.experiments import Experiment, Measure, diagnose
from vlmlens.identity import but_for_patches, libraries
from vlmlens.interventions import PermuteVision
from vlmlens.store import accept_versions

CALLS = []
EDITS = {"original": (), "seed 0": (PermuteVision(),)}


class Counted(Measure):
    def __call__(self, model, samples, interventions):
        CALLS.append(len(samples))
        made = float(torch.__version__.partition(".")[2].partition("+")[0])
        return xr.Dataset({"x": ("sample", np.full(len(samples), made))})


@pytest.fixture(scope="module")
def model():
    with vl.HookedVLM(*build("llava"), name="tiny") as opened:
        yield opened


@pytest.fixture
def run(model, tmp_path, monkeypatch):
    """An experiment in one folder, under some version of torch; how often it measured."""
    samples = [vl.Sample(QUESTIONS[0], (picture(n),), id=f"s{n}") for n in range(4)]

    def again(version):
        monkeypatch.setattr(torch, "__version__", version)
        CALLS.clear()
        found = Experiment(model, samples, Counted(), EDITS).run(tmp_path)
        return len(CALLS), found

    again.folder = tmp_path
    return again


def test_a_patch_is_accepted_where_the_folder_says_so(run, caplog):
    times, first = run("2.13.0+cpu")
    assert times == 2
    accept_versions(run.folder, "patch")
    times, found = run("2.13.1+cpu")
    assert times == 0
    assert "torch 2.13.0+cpu" in found.attrs.pop("accepted_versions")
    assert "holds results of" in caplog.text and "torch 2.13.0+cpu" in caplog.text
    xr.testing.assert_identical(found, first)
    assert run("2.14.0+cpu")[0] == 2  # no patch
    times, found = run("2.13.0+cpu")  # its own
    assert (times, "accepted_versions" in found.attrs) == (0, False)
    accept_versions(run.folder, "exact")
    assert run("2.13.2+cpu")[0] == 2
    with as_users(), pytest.raises(InputError, match="patch"):
        accept_versions(run.folder, "minor")


def test_without_a_word_every_version_counts(run, caplog):
    assert [run(f"2.13.{patch}")[0] for patch in (0, 1, 0, 1)] == [2, 2, 0, 0]
    assert "holds results of" not in caplog.text


def test_what_is_there_of_these_versions_comes_first(run):
    run("2.13.0")
    _, own = run("2.13.1")
    accept_versions(run.folder, "patch")
    times, found = run("2.13.1")
    assert times == 0
    xr.testing.assert_equal(found, own)


def test_a_vlmlens_that_was_edited_is_no_patch(run, monkeypatch):
    accept_versions(run.folder, "patch")
    monkeypatch.setattr(vl, "__version__", "7.0.0")
    monkeypatch.setattr(libraries, "_sources", lambda: "one")
    assert run("2.13.0")[0] == 2
    monkeypatch.setattr(libraries, "_sources", lambda: "edited")
    assert run("2.13.0")[0] == 2
    monkeypatch.setattr(vl, "__version__", "7.0.1")
    assert run("2.13.0")[0] == 0
    monkeypatch.setattr(vl, "__version__", "7.1.0")
    assert run("2.13.0")[0] == 2


def test_a_diagnosis_and_an_evaluation_say_so(model, tmp_path, monkeypatch, caplog):
    samples = vl.datasets.load("shapes-2d", samples=2)
    given = {"permutations": 1, "max_new_tokens": 1, "progress": False, "folder": tmp_path}
    accept_versions(tmp_path / "cells", "patch")
    for version in ("2.13.0", "2.13.1"):
        monkeypatch.setattr(torch, "__version__", version)
        found = diagnose(model, samples, **given)
        asked = evaluate(model, samples, conditions="clean", **given)
    assert "torch 2.13.0" in found.results.attrs["accepted_versions"]
    assert "torch 2.13.0" in asked.settings["accepted_versions"]


def test_versions_but_for_their_patch():
    said = {"a": "2.13.1+cpu 2.13.1", "b": "2.130", "c": "", "d": "2024.1.1", "e": "dev"}
    found = but_for_patches(said)
    assert found == {"a": "2.13", "b": "2.130", "c": "", "d": "2024.1", "e": "dev"}
